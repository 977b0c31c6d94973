#pragma once
/// Gated SAE (Rajamanoharan et al. 2024, arXiv 2404.16014). Local.
///   gate p = W_enc (x - b_dec) + b_gate;  magnitude m = exp(r_mag) (p - b_gate) + b_mag;  a = relu(m) where p > 0, else 0;
///   penalty = sum_j relu(p_j), and the loss has the error |x^' - x|^2 of x^' = relu(p) W_dec + b_dec with W_dec and b_dec
///   held constant (SAELens lets both move, against the paper).
/// With g_m = dL/da where m > 0 and g_p = lambda/B + 2/B <x^' - x, W_dec[j]>, all where p > 0:
///   dL/d(W_enc[j] (x - b_dec)) = g_p + exp(r_mag) g_m,  b_gate: g_p,  b_mag: g_m,  r_mag: g_m (m - b_mag).
/// The scalars of a latent: b_gate (in the place of b_enc), b_mag, r_mag.

#include "concord/sae/kinds/architecture.hpp"

namespace concord::sae {

class Gated final : public Architecture {
public:
  using Architecture::Architecture;
  Index scalars() const override { return 3; }
  void encode(const FlatParameters& parameters, std::span<const float> centred, Codes& codes) override;
  double backward(const FlatParameters& parameters, StepRows& rows, float warmth) override;
  void finish_gradients(const FlatParameters& parameters, Index j, float values, FlatParameters& gradients, Index i) const override;
  void describe(const FlatParameters& parameters, Sae& sae) const override;

private:
  void take_gradients(const FlatParameters& parameters, Codes& codes, float strength) const;
  double add_pull(const FlatParameters& parameters, StepRows& rows) const;
  std::vector<float> gates_; ///< relu(p) of each entry
};

} // namespace concord::sae
