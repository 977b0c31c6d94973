#pragma once
/// JumpReLU (Rajamanoharan et al. 2024, arXiv 2407.14435; tanh: Anthropic, January 2025 update). Local.
///   a = h where h > theta, else 0, with a threshold theta >= 0 a latent;
///   penalty: step  sum_j [h_j > theta_j]      (their L0)
///            tanh  sum_j tanh(4 a_j)
/// The threshold learns through straight-through estimators with a rectangle of width eps about it, K = [|h - theta| < eps / 2]:
///   da/dtheta = -theta/eps K,  d[h > theta]/dtheta = -1/eps K;  to h the jump passes nothing but dL/da where h > theta.
/// So latents within the rectangle below their threshold are entries too, with a = 0. The scalars of a latent: b_enc, theta.

#include "concord/sae/kinds/architecture.hpp"

namespace concord::sae {

class JumpRelu final : public Architecture {
public:
  using Architecture::Architecture;
  Index scalars() const override { return 2; }
  void initialise(FlatParameters& parameters, Index first, Index count) const override;
  void encode(const FlatParameters& parameters, std::span<const float> centred, Codes& codes) override;
  double backward(const FlatParameters& parameters, StepRows& rows, float warmth) override;
  void constrain(FlatParameters& parameters, Index first, Index count) const override;
  void describe(const FlatParameters& parameters, Sae& sae) const override;

private:
  std::vector<float> hidden_; ///< h of each entry
};

} // namespace concord::sae
