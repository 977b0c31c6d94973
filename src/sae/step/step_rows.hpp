#pragma once
/// What a forward pass leaves of some rows of a batch, and the gradients of the weights made from it. Local; all sums run in
/// the order of the batch, so their bits depend neither on threads nor on which rank computed which row.

#include "concord/sae/numbers/codes.hpp"

#include "sae/numbers/parameters.hpp"
#include <functional>
#include <span>

namespace concord::sae {

class Architecture;

/// The large arrays are others' memory: a Step's own, or what the ranks of a node share.
struct StepRows {
  Index d = 0;
  std::vector<std::int32_t> prefixes; ///< latents [0, prefixes[g]) reconstruct the rows in the loss; the last is F, and often the only one
  std::vector<Index> positions;       ///< place of each row in the global batch
  std::span<const float> centred;     ///< x - b_dec, [n, d]
  std::span<const float> error;       ///< x^ - x by all latents, [n, d]
  std::span<const float> prefix_pull; ///< [n, prefixes, d] where there are several: what pulls at the latents between prefix g - 1 and g,
                                      ///< the errors of the prefixes g and up over their number
  Codes codes;
  bool with_aux = false;               ///< AuxK has its part:
  std::span<const float> aux_gradient; ///< dL/de^, [n, d]
  Codes aux;                           ///< of dead latents
  Index count() const { return static_cast<Index>(positions.size()); }
  /// The error that the loss sees through latents of prefix g: its rows are stride() apart.
  const float* pull(std::size_t g) const { return prefixes.size() > 1 ? prefix_pull.data() + static_cast<Index>(g) * d : error.data(); }
  Index stride() const { return static_cast<Index>(prefixes.size()) * d; }
  /// Rows in the order of the batch.
  std::vector<Index> order() const;
};

/// Sums over rows, in f64.
struct StepMoments {
  std::vector<double> sums; ///< sum e [d], sum (x - b_dec) [d], sum |e|^2, sum |x - b_dec|^2, active latents
  explicit StepMoments(Index d) : sums(static_cast<std::size_t>(2 * d + 3), 0.0) {}
  double squared_error() const { return sums[sums.size() - 3]; }
  double active() const { return sums.back(); }
  /// sum |e - mean e|^2 and sum |x - mean x|^2 of a batch of `rows` rows.
  double error_variance(Index rows) const { return variance(0, sums[sums.size() - 3], rows); }
  double row_variance(Index rows) const { return variance((sums.size() - 3) / 2, sums[sums.size() - 2], rows); }

private:
  double variance(std::size_t first, double squares, Index rows) const;
};

StepMoments moments_of(const StepRows& rows);

/// Sums over pieces of the latents that are still to be added over all latents, and over rows.
struct SharedSums {
  std::vector<float> through_encoder; ///< [pieces of the latents, d]: -sum_j W_enc[j] dL/d(W_enc[j] (x - b_dec))
  std::vector<float> error;           ///< [d]: 2/B sum of what pulls at all latents
};

/// Latents a piece: shares of ranks are made of whole pieces.
inline constexpr Index latent_piece = 256;

/// Gradients of the latents [first, first + gradients.latents) from `rows`: the b_dec of `gradients` is left alone.
/// `scale` = 2/B, the factor of the error in the loss. `each` is called with the place of a latent in the share when its
/// gradients are made and still near, by several threads.
SharedSums weight_gradients(const StepRows& rows, const Architecture& architecture, const FlatParameters& parameters, Index first,
                            float scale, FlatParameters& gradients, const std::function<void(Index i)>& each = {});

} // namespace concord::sae
