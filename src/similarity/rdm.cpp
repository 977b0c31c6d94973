#include "concord/similarity/rdm.hpp"

#include "concord/linalg/dense.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace concord::similarity {
namespace {

std::size_t at(Index i) {
  return static_cast<std::size_t>(i);
}

constexpr double eps = std::numeric_limits<double>::epsilon();

} // namespace

namespace {

constexpr const char* kind_names[] = {"correlation", "cosine", "euclidean"};

} // namespace

RdmKind parse_rdm_kind(const std::string& word) {
  const auto found = std::find(std::begin(kind_names), std::end(kind_names), word);
  require(found != std::end(kind_names), ExitCode::config, "compare.rdm must be \"correlation\", \"cosine\" or \"euclidean\", not \"{}\"",
          word);
  return static_cast<RdmKind>(found - std::begin(kind_names));
}

const char* name_of(RdmKind kind) {
  return kind_names[static_cast<int>(kind)];
}

Rdm::Rdm(const Matrix& matrix, RdmKind kind, int bits) : matrix_(&matrix), kind_(kind) {
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
    scale_ = largest > 0 ? std::ldexp(1.0, bits) / (2 * largest) : 1;
    return;
  }
  scale_ = std::ldexp(1.0, bits - 1);
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

Key Rdm::to_key(double product, Index i, Index j) const {
  if (kind_ != RdmKind::euclidean) return static_cast<Key>(std::nearbyint(std::clamp(1 - product, 0.0, 2.0) * scale_));
  const double both = squares_[at(i)] + squares_[at(j)];
  const double square = both - 2 * product;
  return square <= 64 * eps * both ? Key{0} : static_cast<Key>(std::nearbyint(std::sqrt(square) * scale_)); // equal rows are at distance 0
}

void Rdm::keys(const double* rows_i, Index i0, Index ni, const double* rows_j, Index j0, Index nj, double* products, Key* out) const {
  const Index d = cols();
  linalg::product_with_transpose({rows_i, ni, d, d}, {rows_j, nj, d, d}, products, nj);
  if (kind_ == RdmKind::euclidean) {
    for (Index i = 0; i < ni; ++i)
      for (Index j = 0; j < nj; ++j) out[i * nj + j] = to_key(products[i * nj + j], i0 + i, j0 + j);
    return;
  }
  const double scale = scale_;
  for (Index e = 0; e < ni * nj; ++e)
    out[e] = static_cast<Key>(static_cast<std::int32_t>(std::nearbyint(std::min(2.0, std::max(0.0, 1 - products[e])) * scale)));
}

Key Rdm::key(Index i, Index j, double* room) const {
  const Index d = cols();
  prepare(i, 1, room);
  prepare(j, 1, room + d);
  double product = 0;
#pragma omp simd reduction(+ : product)
  for (Index c = 0; c < d; ++c) product += room[c] * room[d + c];
  return to_key(product, i, j);
}

} // namespace concord::similarity
