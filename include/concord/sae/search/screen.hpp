#pragma once
/// The k largest pre-activations of each row, or all above a floor, without computing them all in f32: a product of rounded
/// numbers screens the latents, and the few that can be among those are computed again in f32. Local; with a communicator update() is
/// collective over it: the ranks of a node share the rounded weights, and each rounds its part of them. With Counting::together the
/// searches are collective, too, and all ranks decide alike when int8 gives way.
///
/// With x^, w^ the rounded row and weights, s = x^ w^ + b the score and h = x w + b,  h - s = (x - x^) w + x^ (w - w^).
///   bf16, rounded to nearest: Cauchy and Schwarz give |h - s| <= |x - x^| |w| + |x^| |w - w^| =: e, always.
///   int8, rounded up or down at random, in steps D_x of the row and D_w of the latent's weights, so that each error has mean 0:
///   Hoeffding gives |h - s| <= t (D_x |w| + D_w |x^|) =: e but with probability 4 exp(-2 t^2), with t = 3 less than 1e-7. That is
///   the bound for the worst rows; with fractions spread evenly, e is 7 standard deviations.
/// Both take a term for the rounding of sums on top. A latent whose s + e is below the k-th largest s - e is not among the k
/// largest; all others are computed in f32, in descending order of s, until s + e falls below the k-th largest h found. So the
/// result is that of f32, in bf16 always, in int8 but for less than a latent in 1e7, and that one can only be a near-tie: what it
/// misses the k largest by is less than the error that it met. int8 gives way to bf16 where rows or weights are so uneven that it leaves
/// too many candidates. Without such instructions the screening product is f32's own, and e its rounding alone.
/// Above a floor the same holds with the floor in the place of the k-th largest.

#include "concord/comm/session.hpp"
#include "concord/sae/search/latent_search.hpp"

#include <memory>
#include <span>
#include <vector>

namespace concord::sae {

class Screen final : public LatentSearch {
public:
  enum class Precision { int8, bf16, f32 };
  /// Whether ranks that share weights add up what they computed, and so decide alike, or each searches when it likes.
  enum class Counting { together, alone };
  /// Begins with `roughest`, or the roughest finer one that the processor has instructions for.
  explicit Screen(Index d, Precision roughest = Precision::int8, const comm::Communicator* comm = nullptr,
                  Counting counting = Counting::together);
  ~Screen() override;
  void update(std::span<const float> encoder, std::span<const float> bias, std::span<const std::int32_t> subset = {},
              std::span<const float> floors = {}) override;
  void top_k(std::span<const float> x, int k, Codes& codes) override;
  void above(std::span<const float> x, float limit, Codes& codes) override;
  /// Bytes that a rounded weight takes on this processor: 1, 2, or 0 where weights are not rounded.
  static double bytes_a_weight(Precision roughest);
  /// Latents computed in f32 in the last call, a row, over all ranks that count together.
  double computed_per_row() const { return computed_per_row_; }
  /// What the next update() rounds to, and setting it: a training that goes on where it was screens as it did.
  Precision precision() const { return precision_; }
  void set_precision(Precision precision);

private:
  struct Weights;
  struct Row;
  void count(Index rows, Index wanted, Index computed, Index candidates);
  Index d_;
  Precision precision_;
  const comm::Communicator* comm_;
  Counting counting_;
  std::unique_ptr<Weights> weights_;
  std::vector<SparseRows> parts_; ///< keep their memory
  double computed_per_row_ = 0;
};

} // namespace concord::sae
