// TopK (Gao et al. 2024, arXiv 2406.04093): a = the k largest of relu(h) of each row. dL/dh = dL/da where a > 0. Local.

#include "sae/kinds/kinds.hpp"

namespace concord::sae {
namespace {

class TopK final : public Architecture {
public:
  using Architecture::Architecture;
  void encode(const FlatParameters& parameters, std::span<const float> centred, Codes& codes) override;
  void describe(const FlatParameters& parameters, Sae& sae) const override;
};

void TopK::encode(const FlatParameters& parameters, std::span<const float> centred, Codes& codes) {
  search().update(parameters.encoder(), parameters.b_enc(), {}, {});
  search().top_k(centred, settings_.k, codes);
}

void TopK::describe(const FlatParameters& /*parameters*/, Sae& sae) const {
  sae.architecture = Sae::Architecture::topk;
  sae.k = settings_.k;
}

} // namespace

std::unique_ptr<Architecture> make_top_k(const comm::Communicator& comm, const ArchitectureSettings& settings) {
  return std::make_unique<TopK>(comm, settings);
}

} // namespace concord::sae
