#include "concord/similarity/rsa/rdm.hpp"

#include "concord/core/at.hpp"
#include "concord/linalg/dense.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace concord::similarity {
namespace {

constexpr double eps = std::numeric_limits<double>::epsilon();

} // namespace

Rdm::Rdm(const Matrix& matrix, RdmKind kind) : matrix_(&matrix), kind_(kind) {
  const Index m = matrix.rows;
  const Index d = matrix.cols;
  std::vector<double> row(at(d));
  const auto each_row = [&](const auto& visit) {
    for (Index i = 0; i < m; ++i) {
      matrix.copy_rows(i, 1, row.data());
      visit(i);
    }
  };
  factor_.assign(at(m), 1.0);
  shift_.assign(at(kind == RdmKind::euclidean ? d : m), 0.0);
  if (kind == RdmKind::euclidean) { // distances do not change by a shift, but lose less to rounding
    each_row([&](Index) {
      for (Index c = 0; c < d; ++c) shift_[at(c)] += row[at(c)] / static_cast<double>(m);
    });
    squares_.assign(at(m), 0.0);
    each_row([&](Index i) {
      for (Index c = 0; c < d; ++c) squares_[at(i)] += (row[at(c)] - shift_[at(c)]) * (row[at(c)] - shift_[at(c)]);
    });
    const double largest = squares_.empty() ? 0 : std::sqrt(*std::max_element(squares_.begin(), squares_.end()));
    scale_ = largest > 0 ? std::ldexp(1.0, step_bits) / (2 * largest) : 1;
    return;
  }
  scale_ = std::ldexp(1.0, step_bits - 1);
  each_row([&](Index i) {
    double mean = 0;
    if (kind == RdmKind::correlation) {
      for (const double v : row) mean += v;
      mean /= static_cast<double>(d);
    }
    double squares = 0;
    double raw = 0;
    for (const double v : row) {
      squares += (v - mean) * (v - mean);
      raw += v * v;
    }
    shift_[at(i)] = mean;
    const bool directed = squares > 64 * eps * eps * static_cast<double>(d) * raw; // more than rounding leaves of a constant row
    factor_[at(i)] = directed ? 1 / std::sqrt(squares) : 0;
    if (!directed && undefined_row_ < 0) undefined_row_ = i;
  });
}

void Rdm::prepare(Index begin, Index count, double* out) const {
  matrix_->copy_rows(begin, count, out);
  const Index d = cols();
  for (Index i = 0; i < count; ++i) {
    double* row = out + i * d;
    const double factor = factor_[at(begin + i)];
    if (kind_ == RdmKind::euclidean)
      for (Index c = 0; c < d; ++c) row[c] -= shift_[at(c)];
    else
      for (Index c = 0; c < d; ++c) row[c] = (row[c] - shift_[at(begin + i)]) * factor;
  }
}

double Rdm::steps(double product, Index i, Index j) const {
  if (kind_ != RdmKind::euclidean) return std::nearbyint(std::min(2.0, std::max(0.0, 1 - product)) * scale_);
  const double both = squares_[at(i)] + squares_[at(j)];
  const double square = both - 2 * product;
  return square <= 64 * eps * both ? 0.0 : std::nearbyint(std::sqrt(square) * scale_); // equal rows are at distance 0
}

void Rdm::dissimilarities(const double* rows_i, Index i0, Index ni, const double* rows_j, Index j0, Index nj, double* out) const {
  const Index d = cols();
  linalg::product_with_transpose({rows_i, ni, d, d}, {rows_j, nj, d, d}, out, nj);
  if (kind_ == RdmKind::euclidean) {
    for (Index i = 0; i < ni; ++i)
      for (Index j = 0; j < nj; ++j) out[i * nj + j] = steps(out[i * nj + j], i0 + i, j0 + j);
    return;
  }
  const double scale = scale_;
  for (Index e = 0; e < ni * nj; ++e) out[e] = std::nearbyint(std::min(2.0, std::max(0.0, 1 - out[e])) * scale);
}

double Rdm::dissimilarity(Index i, Index j, double* room) const {
  const Index d = cols();
  prepare(i, 1, room);
  prepare(j, 1, room + d);
  double product = 0;
#pragma omp simd reduction(+ : product)
  for (Index c = 0; c < d; ++c) product += room[c] * room[d + c];
  return steps(product, i, j);
}

std::vector<double> Rdm::among(const std::vector<Index>& rows) const {
  const auto n = static_cast<Index>(rows.size());
  const Index d = cols();
  std::vector<double> ready(at(n * d));
  for (Index i = 0; i < n; ++i) prepare(rows[at(i)], 1, ready.data() + i * d);
  std::vector<double> out(at(n * n));
  linalg::product_with_transpose({ready.data(), n, d, d}, {ready.data(), n, d, d}, out.data(), n);
  for (Index i = 0; i < n; ++i)
    for (Index j = 0; j < n; ++j) out[at(i * n + j)] = steps(out[at(i * n + j)], rows[at(i)], rows[at(j)]);
  return out;
}

} // namespace concord::similarity
