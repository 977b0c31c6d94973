#pragma once
/// Arithmetic on single rows, in an order of its own that does not depend on threads. Local.

#include "concord/core/at.hpp"
#include "concord/core/index.hpp"

#include <ATen/Parallel.h>
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <span>
#include <vector>

namespace concord::sae {

namespace dots {

/// Lanes of a sum, and sums side by side, since one would wait for itself at every addition.
inline constexpr Index lanes = 16, side_by_side = 4;
using Lanes [[gnu::vector_size(lanes * sizeof(float))]] = float;

/// Not by value, since how vectors are passed differs by machine.
inline void load(const float* from, Lanes& x) {
  std::memcpy(&x, from, sizeof x);
}

inline float sum_of(const Lanes* sums) {
  const Lanes all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  float part[lanes / 2];
  for (Index i = 0; i < lanes / 2; ++i) part[i] = all[i] + all[i + lanes / 2];
  return ((part[0] + part[4]) + (part[2] + part[6])) + ((part[1] + part[5]) + (part[3] + part[7]));
}

/// <a, b[i]> for some rows b, each as if it were alone.
template <int rows>
inline void products(const float* a, const float* const* b, Index n, float* to) {
  Lanes sums[rows][side_by_side] = {};
  const Index whole = n / (lanes * side_by_side) * (lanes * side_by_side);
  for (Index c = 0; c < whole; c += lanes * side_by_side)
    for (Index s = 0; s < side_by_side; ++s) {
      Lanes x;
      Lanes y;
      load(a + c + s * lanes, x);
      for (int i = 0; i < rows; ++i) {
        load(b[i] + c + s * lanes, y);
        sums[i][s] += x * y;
      }
    }
  for (int i = 0; i < rows; ++i) {
    float sum = sum_of(sums[i]);
    for (Index c = whole; c < n; ++c) sum = std::fma(a[c], b[i][c], sum); // said, so that it is the same for however many rows
    to[i] = sum;
  }
}

} // namespace dots

inline float dot(const float* a, const float* b, Index n) {
  float product = 0;
  dots::products<1>(a, &b, n, &product);
  return product;
}
/// Up to four with the same row, which is read once for all of them; each is what dot() gives.
inline void dots_of(const float* a, std::span<const float* const> b, Index n, float* to) {
  switch (b.size()) {
  case 4:
    return dots::products<4>(a, b.data(), n, to);
  case 3:
    return dots::products<3>(a, b.data(), n, to);
  case 2:
    return dots::products<2>(a, b.data(), n, to);
  case 1:
    return dots::products<1>(a, b.data(), n, to);
  default:
    return;
  }
}
/// Rows that stay in the nearest cache while others pass by.
inline constexpr Index near_rows = 8;

inline double sum_in_order(const std::vector<double>& numbers) {
  double sum = 0;
  for (const double number : numbers) sum += number;
  return sum;
}

inline double squared_norm(std::span<const float> values) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::size_t i = 0; i < values.size(); ++i) sum += static_cast<double>(values[i]) * values[i];
  return sum;
}

/// Asks for a row that will be needed soon: rows lie scattered, which the processor cannot foresee.
inline void prefetch_row(const float* row, Index n) {
  for (Index c = 0; c < n; c += 16) __builtin_prefetch(row + c);
}

inline void add_scaled(float* to, const float* from, float scale, Index n) {
#pragma omp simd
  for (Index c = 0; c < n; ++c) to[c] += scale * from[c];
}

/// to += four rows one after another, or to = their sum; a row of `to` is written once for all of them.
template <bool add>
inline void sum4(float* to, const float* const* from, const float* scale, Index n) {
  const float *a = from[0], *b = from[1], *c = from[2], *d = from[3];
  const float sa = scale[0], sb = scale[1], sc = scale[2], sd = scale[3];
#pragma omp simd
  for (Index i = 0; i < n; ++i) {
    float sum = add ? to[i] : 0.0F;
    sum += sa * a[i];
    sum += sb * b[i];
    sum += sc * c[i];
    sum += sd * d[i];
    to[i] = sum;
  }
}

/// Sums rows with weights into one row, four at a time; `fresh`: whatever is there is overwritten. finish() adds what waits.
class RowSum {
public:
  RowSum() = default;
  RowSum(float* to, Index n, bool fresh = false) : to_(to), n_(n), fresh_(fresh) {}
  void add(const float* from, float scale) {
    from_[waiting_] = from;
    scale_[waiting_] = scale;
    if (++waiting_ < 4) return;
    fresh_ ? sum4<false>(to_, from_, scale_, n_) : sum4<true>(to_, from_, scale_, n_);
    fresh_ = false;
    waiting_ = 0;
  }
  void finish() {
    if (fresh_) std::fill_n(to_, n_, 0.0F);
    for (int i = 0; i < waiting_; ++i) add_scaled(to_, from_[i], scale_[i], n_);
    fresh_ = false;
    waiting_ = 0;
  }

private:
  float* to_ = nullptr;
  Index n_ = 0;
  bool fresh_ = false;
  int waiting_ = 0;
  const float* from_[4] = {};
  float scale_[4] = {};
};

/// Calls f(piece) for pieces 0, 1, ...; the next free thread takes the next one.
template <typename F>
void for_pieces(Index pieces, const F& f) {
  std::atomic<Index> next = 0;
  at::parallel_for(0, std::min<Index>(pieces, at::get_num_threads()), 1, [&](Index, Index) {
    for (Index piece = next++; piece < pieces; piece = next++) f(piece);
  });
}

/// Rows that one thread takes at once.
inline constexpr Index row_piece = 64;

/// Calls f(begin, end) for the pieces of rows 0 to n - 1.
template <typename F>
void for_row_pieces(Index n, const F& f) {
  for_pieces((n + row_piece - 1) / row_piece, [&](Index piece) { f(piece * row_piece, std::min(n, (piece + 1) * row_piece)); });
}

/// Calls f(r) for rows 0 to n - 1.
template <typename F>
void for_rows(Index n, const F& f) {
  for_row_pieces(n, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r) f(r);
  });
}

} // namespace concord::sae
