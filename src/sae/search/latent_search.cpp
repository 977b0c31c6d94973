#include "concord/sae/search/latent_search.hpp"

#include <algorithm>

namespace concord::sae {

bool find_dead(LatentSearch& search, std::span<const float> encoder, std::span<const float> bias, std::span<const float> x,
               const std::vector<std::uint8_t>& dead, Index most, Codes& codes) {
  std::vector<std::int32_t> list;
  for (std::size_t j = 0; j < dead.size(); ++j)
    if (dead[j] != 0) list.push_back(static_cast<std::int32_t>(j));
  codes.clear();
  const Index k = std::min<Index>(most, static_cast<Index>(list.size()));
  if (k == 0) return false;
  search.update(encoder, bias, list, {});
  search.top_k(x, static_cast<int>(k), codes);
  codes.begin_gradients();
  return true;
}

} // namespace concord::sae
