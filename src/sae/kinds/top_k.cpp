#include "sae/kinds/top_k.hpp"

namespace concord::sae {

void TopK::encode(const FlatParameters& parameters, std::span<const float> centred, Codes& codes) {
  search().update(parameters.encoder(), parameters.b_enc(), {}, {});
  search().top_k(centred, settings_.k, codes);
}

void TopK::describe(const FlatParameters& /*parameters*/, Sae& sae) const {
  sae.architecture = Sae::Architecture::topk;
  sae.k = settings_.k;
}

} // namespace concord::sae
