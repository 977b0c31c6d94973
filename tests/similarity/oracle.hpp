#pragma once
// Plain reference implementations of the measures, and matrices to try them on. Slow on purpose; Gram-Schmidt and Jacobi in long double.

#include "concord/core/philox.hpp"
#include "concord/similarity/measures/matrix.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace concord::similarity::oracle {

using Real = long double;
using Rows = std::vector<std::vector<Real>>;

inline Matrix random_matrix(std::uint64_t seed, Index rows, Index cols) {
  const Philox random(seed, "matrix");
  Matrix m{rows, cols, {}};
  for (Index i = 0; i < rows * cols; ++i) m.values.push_back(random.normal(static_cast<std::uint64_t>(i)));
  return m;
}

inline Matrix times(const Matrix& x, const Matrix& w) {
  Matrix out{x.rows, w.cols, std::vector<double>(static_cast<std::size_t>(x.rows * w.cols), 0.0)};
  for (Index i = 0; i < x.rows; ++i)
    for (Index k = 0; k < x.cols; ++k)
      for (Index j = 0; j < w.cols; ++j) out.values[static_cast<std::size_t>(i * w.cols + j)] += x.at(i, k) * w.at(k, j);
  return out;
}

inline Matrix affine(Matrix x, double scale, double shift) {
  for (double& v : x.values) v = scale * v + shift;
  return x;
}

inline Matrix plus(Matrix x, const Matrix& y, double weight) {
  for (std::size_t i = 0; i < x.values.size(); ++i) x.values[i] += weight * y.values[i];
  return x;
}

/// Columns of x, each in the place that `order` says.
inline Matrix permuted_cols(const Matrix& x, const std::vector<Index>& order) {
  Matrix out{x.rows, x.cols, {}};
  for (Index i = 0; i < x.rows; ++i)
    for (const Index c : order) out.values.push_back(x.at(i, c));
  return out;
}

inline Rows centred_columns(const Matrix& x) { // column by column
  Rows columns(static_cast<std::size_t>(x.cols), std::vector<Real>(static_cast<std::size_t>(x.rows)));
  for (Index c = 0; c < x.cols; ++c) {
    auto& column = columns[static_cast<std::size_t>(c)];
    for (Index i = 0; i < x.rows; ++i) column[static_cast<std::size_t>(i)] = x.at(i, c);
    const Real mean = std::accumulate(column.begin(), column.end(), Real{0}) / static_cast<Real>(x.rows);
    for (Real& v : column) v -= mean;
  }
  return columns;
}

inline Real dot(const std::vector<Real>& a, const std::vector<Real>& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), Real{0});
}

/// One-sided Jacobi: columns become U S in descending order; returns S.
inline std::vector<Real> jacobi(Rows& columns) {
  for (int sweep = 0; sweep < 60; ++sweep) {
    Real largest = 0;
    for (std::size_t p = 0; p < columns.size(); ++p)
      for (std::size_t q = p + 1; q < columns.size(); ++q) {
        const Real a = dot(columns[p], columns[p]);
        const Real b = dot(columns[q], columns[q]);
        const Real c = dot(columns[p], columns[q]);
        if (a == 0 || b == 0 || c == 0) continue;
        largest = std::max(largest, std::abs(c) / std::sqrt(a * b));
        const Real zeta = (b - a) / (2 * c);
        const Real t = (zeta >= 0 ? 1 : -1) / (std::abs(zeta) + std::sqrt(1 + zeta * zeta));
        const Real cosine = 1 / std::sqrt(1 + t * t);
        const Real sine = cosine * t;
        for (std::size_t i = 0; i < columns[p].size(); ++i) {
          const Real v = columns[p][i];
          columns[p][i] = cosine * v - sine * columns[q][i];
          columns[q][i] = sine * v + cosine * columns[q][i];
        }
      }
    if (largest < 1e-18L) break;
  }
  std::sort(columns.begin(), columns.end(), [](const auto& a, const auto& b) { return dot(a, a) > dot(b, b); });
  std::vector<Real> s;
  for (const auto& column : columns) s.push_back(std::sqrt(dot(column, column)));
  return s;
}

/// The first k left singular vectors of x, centred.
inline Rows basis(const Matrix& x, Index k) {
  auto columns = centred_columns(x);
  const auto s = jacobi(columns);
  columns.resize(static_cast<std::size_t>(k));
  for (std::size_t j = 0; j < columns.size(); ++j)
    for (Real& v : columns[j]) v /= s[j];
  return columns;
}

/// Canonical correlations of the leading k1 and k2 components.
inline std::vector<Real> canonical(const Matrix& x, Index k1, const Matrix& y, Index k2) {
  const auto ux = basis(x, k1);
  const auto uy = basis(y, k2);
  Rows c; // columns of the taller of C and its transpose
  const auto& outer = k1 >= k2 ? uy : ux;
  const auto& inner = k1 >= k2 ? ux : uy;
  for (const auto& column : outer) {
    c.emplace_back();
    for (const auto& row : inner) c.back().push_back(dot(column, row));
  }
  return jacobi(c);
}

inline double mean(const std::vector<Real>& values) {
  return static_cast<double>(std::accumulate(values.begin(), values.end(), Real{0}) / static_cast<Real>(values.size()));
}

/// Dissimilarities above the diagonal: 1 - Pearson of rows.
inline std::vector<double> correlation_rdm(const Matrix& x) {
  Rows rows;
  for (Index i = 0; i < x.rows; ++i) {
    rows.emplace_back();
    Real total = 0;
    for (Index c = 0; c < x.cols; ++c) total += x.at(i, c);
    for (Index c = 0; c < x.cols; ++c) rows.back().push_back(x.at(i, c) - total / static_cast<Real>(x.cols));
    const Real norm = std::sqrt(dot(rows.back(), rows.back()));
    for (Real& v : rows.back()) v /= norm;
  }
  std::vector<double> entries;
  for (std::size_t i = 0; i < rows.size(); ++i)
    for (std::size_t j = i + 1; j < rows.size(); ++j) entries.push_back(static_cast<double>(1 - dot(rows[i], rows[j])));
  return entries;
}

/// Average ranks (1-based) of values, ties sharing their mean.
inline std::vector<double> average_ranks(const std::vector<double>& values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return values[a] < values[b]; });
  std::vector<double> ranks(values.size());
  for (std::size_t begin = 0; begin < order.size();) {
    std::size_t end = begin + 1;
    while (end < order.size() && values[order[end]] == values[order[begin]]) ++end;
    const double rank = 0.5 * static_cast<double>(begin + 1 + end);
    for (; begin < end; ++begin) ranks[order[begin]] = rank;
  }
  return ranks;
}

inline double pearson(const std::vector<double>& a, const std::vector<double>& b) {
  const auto n = static_cast<Real>(a.size());
  const Real mean_a = std::accumulate(a.begin(), a.end(), Real{0}) / n;
  const Real mean_b = std::accumulate(b.begin(), b.end(), Real{0}) / n;
  Real ab = 0;
  Real aa = 0;
  Real bb = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    ab += (a[i] - mean_a) * (b[i] - mean_b);
    aa += (a[i] - mean_a) * (a[i] - mean_a);
    bb += (b[i] - mean_b) * (b[i] - mean_b);
  }
  return static_cast<double>(ab / std::sqrt(aa * bb));
}

/// HSIC_u of Song et al. with M x M Gram matrices, times M (M - 3).
inline double hsic_unbiased(const Matrix& x, const Matrix& y) {
  const auto n = static_cast<std::size_t>(x.rows);
  const auto gram = [n](const Matrix& m) {
    Rows k(n, std::vector<Real>(n, 0));
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j)
        for (Index c = 0; c < m.cols && i != j; ++c) k[i][j] += Real{m.at(static_cast<Index>(i), c)} * m.at(static_cast<Index>(j), c);
    return k;
  };
  const auto k = gram(x);
  const auto l = gram(y);
  const auto row_sum = [](const std::vector<Real>& row) { return std::accumulate(row.begin(), row.end(), Real{0}); };
  Real trace = 0;
  Real sum_k = 0;
  Real sum_l = 0;
  Real cross = 0;
  for (std::size_t i = 0; i < n; ++i) {
    trace += dot(k[i], l[i]);
    sum_k += row_sum(k[i]);
    sum_l += row_sum(l[i]);
    cross += row_sum(k[i]) * row_sum(l[i]);
  }
  const auto m = static_cast<Real>(n);
  return static_cast<double>(trace + sum_k * sum_l / ((m - 1) * (m - 2)) - 2 * cross / (m - 2));
}

} // namespace concord::similarity::oracle
