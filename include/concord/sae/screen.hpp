#pragma once
/// The k largest pre-activations of each row without computing them all in f32: a product in bf16 screens the latents, and
/// the few that can be among the k largest are computed again in f32. Local.
///
/// The result is that of the f32 computation alone. With x^, w^ the bf16 roundings of a row and of a latent's weights and
/// s = x^ w^ + b the screened score, Cauchy and Schwarz give
///   |s - h| <= |x - x^| |w| + |x^| |w - w^| + 4 d 2^-24 |x| |w| =: e,
/// the last term for the rounding of both sums; e is taken with the largest norms over the latents. The k-th largest score
/// S is exceeded or met by k latents, so the k-th largest h is at least S - e, and whatever has h that large scores at least
/// S - 2 e: those are the candidates. Without bf16 instructions the screening product is f32's own, and e its rounding alone.

#include "concord/sae/codes.hpp"

#include <memory>
#include <span>

namespace concord::sae {

class Screen {
public:
  explicit Screen(Index d);
  ~Screen();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;
  /// Takes the weights anew. encoder [F, d], bias [F]; `subset`: the latents to look at (all when empty). Both must stay
  /// where they are while top_k() is called.
  void update(std::span<const float> encoder, std::span<const float> bias, std::span<const std::int32_t> subset = {});
  /// Fills index and value of `codes` (codes.slots = k) with the k largest positive h = w x + b of each row of x [n, d];
  /// ties go to the smaller index.
  void top_k(std::span<const float> x, Codes& codes);
  /// Latents computed in f32 in the last top_k(), a row.
  double candidates_per_row() const { return candidates_per_row_; }
  /// Whether this build screens in bf16.
  static bool in_bf16();

private:
  struct Packed;
  struct Weights;
  struct Row;
  void screen_rows(std::span<const float> x, Index begin, Index end, Codes& codes, std::vector<Row>& rows, Index& candidates) const;
  void choose(const float* x, Row& row, Index r, Codes& codes) const;
  Index d_;
  std::unique_ptr<Packed> packed_;
  std::unique_ptr<Weights> weights_;
  double candidates_per_row_ = 0;
};

} // namespace concord::sae
