#pragma once
/// The forward pass of an SAE of any kind (architecture.hpp) with AuxK on this rank's rows of a batch, and all of the backward
/// pass that is done row by row; step_rows.hpp makes the gradients of the weights from it. Local, but for the choice of codes.
///
/// Loss:  L = 1/B sum_rows ( |x^ - x|^2 + lambda penalty )  +  alpha sum |e^ - e|^2 / sum |e - mean e|^2,   e = x - x^ held constant,
/// where e^ decodes the k_aux largest dead latents of each row (normalised AuxK, Gao et al. 2024, arXiv 2406.04093, for every kind)
/// and B counts the rows of all ranks.
/// The gradient of b_dec through the encoder is -W_enc (sum of encoder gradients): no input-gradient product. Codes come
/// from a Screen, and everything behind them touches active latents alone; nothing of size rows x F exists.

#include "sae/kinds/architecture.hpp"
#include <span>
#include <vector>

namespace concord::sae {

class Step {
public:
  /// k_aux = 0: no AuxK; `alpha`: its weight. The architecture must outlive it.
  Step(Architecture& architecture, Index k_aux, double alpha);
  /// Rows [n, d] at `positions` of the batch: codes with their gradients, errors. `dead[j]` marks latents open to AuxK
  /// (empty: none); `warmth` multiplies the penalty's gradient. Returns the sum of lambda penalty over the rows. Collective where
  /// the architecture's encode() is.
  double forward(const FlatParameters& parameters, std::span<const float> rows, std::vector<Index> positions,
                 const std::vector<std::uint8_t>& dead, float warmth);
  /// Whether there are dead latents for AuxK; the same on every rank.
  bool has_dead() const { return has_dead_; }
  /// AuxK's part: aux_gradient, and the gradients of the dead latents' codes. `error_variance`: sum |e - mean e|^2 over the
  /// global batch, > 0. Returns sum |e^ - e|^2 over this rank's rows.
  double backward_dead(const FlatParameters& parameters, double error_variance);
  const StepRows& rows() const { return rows_; }

private:
  void decode(const FlatParameters& parameters);
  Architecture& architecture_;
  Index d_;
  Index k_aux_;
  double alpha_;
  Screen dead_screen_; ///< of dead latents alone
  bool has_dead_ = false;
  StepRows rows_; ///< of these:
  std::vector<float> centred_, error_, prefix_pull_, aux_gradient_;
};

} // namespace concord::sae
