#pragma once
/// Decoding of sparse codes and the products that gradients of codes are made of. Local; sums of a row run in the order of its
/// latents, whatever rows stand beside it.

#include "concord/sae/numbers/codes.hpp"

#include "sae/numbers/dense.hpp"
#include "sae/numbers/rows.hpp"
#include <array>
#include <span>

namespace concord::sae {

/// Latents whose decoder rows stay in the cache while many rows pass by.
inline constexpr Index dense_piece = 256;

/// The first entry of row r whose latent is `low` or more.
inline Index first_entry(const Codes& codes, Index r, std::int32_t low) {
  if (low == 0) return codes.begin(r);
  return std::lower_bound(codes.index.begin() + codes.begin(r), codes.index.begin() + codes.end(r), low) - codes.index.begin();
}

/// Calls f(r, s) for the entries of rows [begin, end) whose latents lie in [low, high): row by row, or, where so many latents
/// are active that their decoder rows would be fetched again for every row, a piece of `near` latents after the other.
template <typename F>
void for_entries(const Codes& codes, Index begin, Index end, std::int32_t low, std::int32_t high, Index near, const F& f) {
  std::array<Index, row_piece> next;
  Index entries = 0;
  for (Index r = begin; r < end; ++r) {
    next[at(r - begin)] = first_entry(codes, r, low);
    entries += codes.end(r) - next[at(r - begin)];
  }
  const bool dense = entries > (end - begin) * dense_piece;
  const auto piece = static_cast<std::int32_t>(near);
  for (std::int32_t upto = dense ? low + piece : high;; upto += piece) {
    for (Index r = begin; r < end; ++r) {
      Index& s = next[at(r - begin)];
      for (; s < codes.end(r) && codes.index[at(s)] < std::min(upto, high); ++s) f(r, s);
    }
    if (upto >= high) return;
  }
}

/// decode_rows() where so many latents are active that a product of matrices is faster.
inline void decode_dense_rows(const Codes& codes, const float* value, const float* decoder, Index d, std::int32_t low, std::int32_t high,
                              Index begin, Index end, float* out) {
  thread_local DenseWeights weights;
  std::array<Index, row_piece> next;
  std::vector<float*> to;
  for (Index r = begin; r < end; ++r) {
    next[at(r - begin)] = first_entry(codes, r, low);
    to.push_back(out + r * d);
  }
  for (std::int32_t first = low; first < high; first += static_cast<std::int32_t>(DenseWeights::most)) {
    const std::int32_t last = std::min(high, first + static_cast<std::int32_t>(DenseWeights::most));
    weights.clear(end - begin);
    for (Index r = begin; r < end; ++r)
      for (Index& s = next[at(r - begin)]; s < codes.end(r) && codes.index[at(s)] < last; ++s)
        weights.of(r - begin, codes.index[at(s)] - first) = value[s];
    std::vector<const float*> from;
    for (std::int32_t j = first; j < last; ++j) from.push_back(decoder + j * d);
    add_dense(weights, from, d, to, /*fresh=*/false);
  }
}

/// out[r] (+)= sum of value[s] W_dec[latent] over the entries of row r with latents in [low, high).
/// @param value [entries], @param decoder [F, d], @param out [n, d]
inline void decode_rows(const Codes& codes, const float* value, const float* decoder, Index d, std::int32_t low, std::int32_t high,
                        Index begin, Index end, float* out) {
  if (static_cast<double>(codes.end(end - 1) - codes.begin(begin)) > dense_above * static_cast<double>((end - begin) * high)) {
    decode_dense_rows(codes, value, decoder, d, low, high, begin, end, out);
    return;
  }
  std::array<RowSum, row_piece> sums;
  for (Index r = begin; r < end; ++r) sums[at(r - begin)] = RowSum(out + r * d, d);
  for_entries(codes, begin, end, low, high, dense_piece, [&](Index r, Index s) {
    if (s + 4 < codes.end(r)) prefetch_row(decoder + codes.index[at(s + 4)] * d, d);
    if (value[s] != 0) sums[at(r - begin)].add(decoder + codes.index[at(s)] * d, value[s]);
  });
  for (Index r = begin; r < end; ++r) sums[at(r - begin)].finish();
}

/// to[s] += scale <row r of `rows`, W_dec[latent]> for the entries of rows [begin, end) with latents in [low, high).
inline void add_products(const Codes& codes, const float* rows, Index stride, const float* decoder, Index d, float scale, std::int32_t low,
                         std::int32_t high, Index begin, Index end, float* to) {
  std::array<const float*, 4> waiting; // entries of the row at hand, which follow one another
  std::array<float, 4> products;
  Index first = 0;
  Index of = begin;
  std::size_t count = 0;
  const auto finish = [&] {
    dots_of(rows + of * stride, {waiting.data(), count}, d, products.data());
    for (std::size_t i = 0; i < count; ++i) to[first + static_cast<Index>(i)] += scale * products[i];
    count = 0;
  };
  for_entries(codes, begin, end, low, high, near_rows, [&](Index r, Index s) {
    if (count == waiting.size() || r != of) finish();
    if (count == 0) {
      first = s;
      of = r;
    }
    waiting[count++] = decoder + codes.index[at(s)] * d;
  });
  finish();
}

} // namespace concord::sae
