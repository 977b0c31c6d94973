#pragma once
/// ReLU with an L1 penalty (Bricken et al. 2023; decoder norms in the penalty: Anthropic, April 2024 update). Local.
///   a = relu(h);  penalty = sum_j a_j w_j,  w_j = |W_dec[j]| = 1 for an SAE.
/// For a crosscoder w_j = |W_dec[j] of model A| + |W_dec[j] of model B| (Lindsey et al. 2024), which moves the decoder too:
///   dL/dh_j = dL/da_j + lambda/B w_j where a > 0;  dL/dW_dec[j] += lambda/B (sum over rows of a_j) dw_j/dW_dec[j].

#include "concord/sae/kinds/architecture.hpp"

namespace concord::sae {

class Relu final : public Architecture {
public:
  using Architecture::Architecture;
  void encode(const FlatParameters& parameters, std::span<const float> centred, Codes& codes) override;
  double backward(const FlatParameters& parameters, StepRows& rows, float warmth) override;
  void finish_gradients(const FlatParameters& parameters, Index j, float values, FlatParameters& gradients, Index i) const override;
  float decoder_penalty() const override { return settings_.parts.size() > 1 ? strength_ : 0; }
  void describe(const FlatParameters& parameters, Sae& sae) const override;

private:
  std::vector<float> weights(const FlatParameters& parameters) const;
  float strength_ = 0; ///< lambda/B of this step
};

} // namespace concord::sae
