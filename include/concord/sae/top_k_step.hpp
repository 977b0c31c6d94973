#pragma once
/// The forward pass of a TopK SAE with AuxK on this rank's rows of a batch, and all of the backward pass that is done row by
/// row; step_rows.hpp makes the gradients of the weights from it. Local.
///
/// Loss (Gao et al. 2024, arXiv 2406.04093, normalised AuxK):
///   L = 1/B sum_rows |x^ - x|^2  +  alpha * sum |e^ - e|^2 / sum |e - mean e|^2,   e = x - x^ held constant,
/// where e^ decodes the k_aux largest dead latents of each row and B counts the rows of all ranks.
/// The gradient of b_dec through the encoder is -W_enc (sum of encoder gradients): no input-gradient product. Codes come
/// from a Screen, and everything behind them touches active latents alone; nothing of size rows x F exists.

#include "concord/sae/screen.hpp"
#include "concord/sae/step_rows.hpp"

#include <span>
#include <vector>

namespace concord::sae {

struct StepSettings {
  int k = 32;
  int k_aux = 0;    ///< 0: no AuxK
  double alpha = 0; ///< weight of the AuxK loss
  Index batch = 0;  ///< B, rows of all ranks
  float scale() const { return static_cast<float>(2.0 / static_cast<double>(batch)); }
};

class TopKStep {
public:
  TopKStep(Index d, const StepSettings& settings);
  /// Rows [n, d] at `positions` of the batch: codes with their gradients, errors. `dead[j]` marks latents open to AuxK
  /// (empty: none).
  void forward(const FlatParameters& parameters, std::span<const float> rows, std::vector<Index> positions,
               const std::vector<std::uint8_t>& dead);
  /// AuxK's part: aux_gradient, and the gradients of the dead latents' codes. `error_variance`: sum |e - mean e|^2 over the
  /// global batch, > 0. Returns sum |e^ - e|^2 over this rank's rows.
  double backward_dead(const FlatParameters& parameters, double error_variance);
  const StepRows& rows() const { return rows_; }
  /// Latents computed in f32 in the last forward pass, a row.
  double computed_per_row() const { return screen_.computed_per_row(); }

private:
  Index d_;
  StepSettings settings_;
  Screen screen_;
  Screen dead_screen_; ///< of dead latents alone
  StepRows rows_;
};

} // namespace concord::sae
