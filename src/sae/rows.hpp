#pragma once
/// Arithmetic on single rows, in an order of its own that does not depend on threads. Local.

#include "concord/core/index.hpp"

#include <ATen/Parallel.h>
#include <algorithm>
#include <atomic>
#include <span>
#include <vector>

namespace concord::sae {

inline std::size_t at(Index i) {
  return static_cast<std::size_t>(i);
}

/// Four sums side by side, since one would wait for itself at every addition.
inline float dot(const float* a, const float* b, Index n) {
  const Index quarter = n / 4;
  float s0 = 0, s1 = 0, s2 = 0, s3 = 0;
#pragma omp simd reduction(+ : s0, s1, s2, s3)
  for (Index c = 0; c < quarter; ++c) {
    s0 += a[c] * b[c];
    s1 += a[quarter + c] * b[quarter + c];
    s2 += a[2 * quarter + c] * b[2 * quarter + c];
    s3 += a[3 * quarter + c] * b[3 * quarter + c];
  }
  for (Index c = 4 * quarter; c < n; ++c) s0 += a[c] * b[c];
  return (s0 + s1) + (s2 + s3);
}

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

/// to += sum of four rows, or to = that sum; a row of `to` is written once for all of them.
template <bool add>
inline void sum4(float* to, const float* const* from, const float* scale, Index n) {
  const float *a = from[0], *b = from[1], *c = from[2], *d = from[3];
  const float sa = scale[0], sb = scale[1], sc = scale[2], sd = scale[3];
#pragma omp simd
  for (Index i = 0; i < n; ++i) to[i] = (add ? to[i] : 0.0F) + ((sa * a[i] + sb * b[i]) + (sc * c[i] + sd * d[i]));
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
