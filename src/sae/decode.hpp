#pragma once
/// Decoding of sparse codes and the products that gradients of codes are made of. Local; sums of a row run in the order of its
/// latents, whatever rows stand beside it.

#include "concord/sae/codes.hpp"

#include "sae/rows.hpp"
#include <array>
#include <span>

namespace concord::sae {

/// Latents whose decoder rows stay in the cache while many rows pass by.
inline constexpr Index dense_piece = 256;

/// Calls f(r, s) for the entries of rows [begin, end) whose latents lie in [low, high): row by row, or, where so many latents
/// are active that their decoder rows would be fetched again for every row, a piece of the latents after the other.
template <typename F>
void for_entries(const Codes& codes, Index begin, Index end, std::int32_t low, std::int32_t high, const F& f) {
  std::array<Index, row_piece> next;
  Index entries = 0;
  for (Index r = begin; r < end; ++r) {
    const auto first = codes.index.begin() + codes.begin(r);
    next[at(r - begin)] =
        low == 0 ? codes.begin(r) : std::lower_bound(first, codes.index.begin() + codes.end(r), low) - codes.index.begin();
    entries += codes.end(r) - next[at(r - begin)];
  }
  const bool dense = entries > (end - begin) * dense_piece;
  for (std::int32_t upto = dense ? low + static_cast<std::int32_t>(dense_piece) : high;; upto += static_cast<std::int32_t>(dense_piece)) {
    for (Index r = begin; r < end; ++r) {
      Index& s = next[at(r - begin)];
      for (; s < codes.end(r) && codes.index[at(s)] < std::min(upto, high); ++s) f(r, s);
    }
    if (upto >= high) return;
  }
}

/// out[r] (+)= sum of value[s] W_dec[latent] over the entries of row r with latents in [low, high).
/// @param value [entries], @param decoder [F, d], @param out [n, d]
inline void decode_rows(const Codes& codes, const float* value, const float* decoder, Index d, std::int32_t low, std::int32_t high,
                        Index begin, Index end, float* out) {
  std::array<RowSum, row_piece> sums;
  for (Index r = begin; r < end; ++r) sums[at(r - begin)] = RowSum(out + r * d, d);
  for_entries(codes, begin, end, low, high, [&](Index r, Index s) {
    if (s + 4 < codes.end(r)) prefetch_row(decoder + codes.index[at(s + 4)] * d, d);
    if (value[s] != 0) sums[at(r - begin)].add(decoder + codes.index[at(s)] * d, value[s]);
  });
  for (Index r = begin; r < end; ++r) sums[at(r - begin)].finish();
}

/// to[s] += scale <row r of `rows`, W_dec[latent]> for the entries of rows [begin, end) with latents in [low, high).
inline void add_products(const Codes& codes, const float* rows, Index stride, const float* decoder, Index d, float scale, std::int32_t low,
                         std::int32_t high, Index begin, Index end, float* to) {
  for_entries(codes, begin, end, low, high,
              [&](Index r, Index s) { to[s] += scale * dot(rows + r * stride, decoder + codes.index[at(s)] * d, d); });
}

} // namespace concord::sae
