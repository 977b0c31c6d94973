#include "sae/kinds/matryoshka.hpp"

namespace concord::sae {

std::vector<std::int32_t> Matryoshka::prefixes() const {
  std::vector<std::int32_t> ends;
  for (int g = settings_.prefixes - 1; g >= 0; --g) {
    const auto end = static_cast<std::int32_t>(settings_.latents >> g);
    if (end > 0 && (ends.empty() || end > ends.back())) ends.push_back(end);
  }
  return ends;
}

} // namespace concord::sae
