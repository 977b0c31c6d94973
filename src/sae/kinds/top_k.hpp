#pragma once
/// TopK (Gao et al. 2024, arXiv 2406.04093): a = the k largest of relu(h) of each row. dL/dh = dL/da where a > 0. Local.

#include "concord/sae/kinds/architecture.hpp"

namespace concord::sae {

class TopK final : public Architecture {
public:
  using Architecture::Architecture;
  void encode(const FlatParameters& parameters, std::span<const float> centred, Codes& codes) override;
  void describe(const FlatParameters& parameters, Sae& sae) const override;
};

} // namespace concord::sae
