#pragma once
/// The products that screen latents (screen.hpp): rounding to int8 and bf16, and scores of tiles of rows with panels of
/// latents in the processor's own instructions. Local.
///
/// A panel is 32 latents. Columns go in groups of 4 bytes, 4 of int8 or 2 of bf16; a group of a panel is two lines of 16
/// latents, a group of a row is a word and stands beside those of the other rows of its tile. Columns behind the last are
/// zero.

#include "concord/core/index.hpp"

#include <cstdint>
#include <functional>

namespace concord::sae::screen {

inline constexpr Index panel = 32;
inline constexpr Index tile_rows = 12; ///< 24 sums, two lines and a broadcast fit 32 registers
struct alignas(64) Line {
  std::uint32_t words[16];
};
extern const bool has_int8;
extern const bool has_bf16;

inline Index groups(Index d, Index columns_a_group) {
  return (d + columns_a_group - 1) / columns_a_group;
}
inline Index whole_tiles(Index rows) {
  return (rows + tile_rows - 1) / tile_rows * tile_rows;
}

/// Rounds at random to multiples of `step`, the largest entry / 127. The random numbers are made from the row itself.
struct Int8Row {
  float step = 0;
  std::int32_t sum = 0; ///< of the integers
};
/// Latent `place` of a panel.
Int8Row round_weights(const float* row, Index d, Index place, Line* to);
/// Rows, into their place in a tile, are stored as unsigned, 128 more than they are. Returns the step.
float round_row(const float* row, Index d, std::uint32_t* to);
/// The same in bf16, to nearest; both return |x - x^|.
float round_weights_bf16(const float* row, Index d, Index place, Line* to);
float round_row_bf16(const float* row, Index d, std::uint32_t* to);

/// scores [tile_rows, panel] = scale_row (scale_latent (sum of products - offset)) + bias
void score_tile_int8(const std::uint32_t* rows, const float* row_scales, Index groups, const Line* weights, const float* scales,
                     const float* offsets, const float* bias, float* scores);
/// scores [tile_rows, panel] = sum of products + bias
void score_tile_bf16(const std::uint32_t* rows, Index groups, const Line* weights, const float* bias, float* scores);
/// Which latents of a panel reach a threshold: bit i is set where scores[i] + error units[i] >= threshold.
std::uint32_t reaching(const float* scores, const float* units, float error, float threshold);
/// Calls take(r, first, scores of the panel of latents from `first`), by f32 products; encoder [count, d].
void for_scores_f32(const float* x, Index rows, const float* encoder, Index count, Index d, const float* bias,
                    const std::function<void(Index, Index, const float*)>& take);

} // namespace concord::sae::screen
