#pragma once
/// One training step of a TopK SAE with AuxK: loss and gradients on this rank's rows of the global batch. Local, but for
/// the sums named below, which the caller makes global.
///
/// Loss (Gao et al. 2024, arXiv 2406.04093, normalised AuxK):
///   L = 1/B sum_rows |x^ - x|^2  +  alpha * sum |e^ - e|^2 / sum |e - mean e|^2,   e = x - x^ held constant,
/// where e^ decodes the k_aux largest dead latents of each row and B counts the rows of all ranks.
/// The gradient of b_dec through the encoder is -W_enc (sum of encoder gradients): no input-gradient product.

#include "concord/core/index.hpp"

#include <memory>
#include <span>
#include <vector>

namespace concord::sae {

/// Parameters, or gradients of them, in one flat array so that one allreduce moves all.
struct FlatParameters {
  Index d = 0;
  Index latents = 0;
  std::vector<float> data; ///< encoder [F, d], decoder [F, d], b_enc [F], b_dec [d]
  FlatParameters(Index width, Index n_latents)
      : d(width), latents(n_latents), data(static_cast<std::size_t>(2 * n_latents * width + n_latents + width), 0.0F) {}
  std::span<float> encoder() { return {data.data(), size(latents * d)}; }
  std::span<float> decoder() { return {data.data() + latents * d, size(latents * d)}; }
  std::span<float> b_enc() { return {data.data() + 2 * latents * d, size(latents)}; }
  std::span<float> b_dec() { return {data.data() + 2 * latents * d + latents, size(d)}; }

private:
  static std::size_t size(Index n) { return static_cast<std::size_t>(n); }
};

struct StepSettings {
  int k = 32;
  int k_aux = 0;    ///< 0: no AuxK
  double alpha = 0; ///< weight of the AuxK loss
  Index batch = 0;  ///< B, rows of all ranks
};

/// Sums over this rank's rows; all of them add up over ranks.
struct StepSums {
  double squared_error = 0; ///< sum |x^ - x|^2
  double active = 0;        ///< latents with a > 0
  double aux_error = 0;     ///< sum |e^ - e|^2
};

class TopKStep {
public:
  TopKStep(Index d, Index latents, const StepSettings& settings);
  ~TopKStep();
  /// Forward pass of rows [n, d]: codes, reconstruction, errors. `dead[j]` marks latents open to AuxK (empty: none).
  StepSums forward(FlatParameters& parameters, std::span<const float> rows, const std::vector<std::uint8_t>& dead);
  /// sum e and sum |e|^2 over this rank's rows ([d + 1]); summed over ranks they give AuxK its denominator.
  std::vector<double> error_moments() const;
  /// Adds the gradients of the last forward pass. `aux_denominator`: sum |e - mean e|^2 over the global batch.
  void backward(FlatParameters& parameters, double aux_denominator, FlatParameters& gradients, StepSums& sums);
  /// Marks the latents that fired in the last forward pass (1 in `fired`).
  void mark_fired(std::vector<float>& fired) const;

private:
  struct Buffers;
  Index d_;
  Index latents_;
  StepSettings settings_;
  std::unique_ptr<Buffers> b_;
};

} // namespace concord::sae
