#include "concord/subspaces/likeness/small_spaces.hpp"

#include "concord/agreement/ranks.hpp"
#include "concord/core/at.hpp"
#include "concord/linalg/dense.hpp"
#include "concord/similarity/measures/cka.hpp"
#include "concord/similarity/rsa/rdm.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace concord::subspaces {
namespace {

constexpr double not_known = std::numeric_limits<double>::quiet_NaN();

/// Inner products of the rows less their mean.
void centre(std::vector<double>& products, Index m) {
  std::vector<double> means(at(m));
  double mean = 0;
  for (Index i = 0; i < m; ++i) {
    for (Index j = 0; j < m; ++j) means[at(i)] += products[at(i * m + j)] / static_cast<double>(m);
    mean += means[at(i)] / static_cast<double>(m);
  }
  for (Index i = 0; i < m; ++i)
    for (Index j = 0; j < m; ++j) products[at(i * m + j)] += mean - means[at(i)] - means[at(j)];
}

} // namespace

const char* name_of_small_measure(int measure) {
  constexpr std::array<const char*, small_measures> names{"rsa", "cka_debiased", "procrustes", "svcca"};
  return names.at(static_cast<std::size_t>(measure));
}

SmallSpace::SmallSpace(const std::vector<double>& rows, Index n, Index d) : n_(n), products_(at(n * n)), correlations_(at(n * n)) {
  std::vector<double> units(rows);
  for (Index i = 0; i < n; ++i) {
    double* row = units.data() + i * d;
    double mean = 0;
    for (Index j = 0; j < d; ++j) mean += row[j] / static_cast<double>(d);
    double squares = 0;
    double raw = 0;
    for (Index j = 0; j < d; ++j) {
      squares += (row[j] - mean) * (row[j] - mean);
      raw += row[j] * row[j];
    }
    constexpr double eps = std::numeric_limits<double>::epsilon();
    const bool constant = !(squares > 64 * eps * eps * static_cast<double>(d) * raw); // but for rounding, as similarity::Rdm has it
    const double factor = constant ? not_known : 1 / std::sqrt(squares);
    for (Index j = 0; j < d; ++j) row[j] = (row[j] - mean) * factor;
  }
  if (n == 0) return;
  linalg::product_with_transpose(linalg::view(rows, n, d), linalg::view(rows, n, d), products_.data(), n);
  linalg::product_with_transpose(linalg::view(units, n, d), linalg::view(units, n, d), correlations_.data(), n);
}

SmallSide::SmallSide(const SmallSpace& space, const std::vector<Index>& rows, Index k) : m_(static_cast<Index>(rows.size())) {
  if (m_ < 4) return;
  centred_.resize(at(m_ * m_));
  std::vector<double> dissimilarities;
  for (Index i = 0; i < m_; ++i)
    for (Index j = 0; j < m_; ++j) {
      centred_[at(i * m_ + j)] = space.product(rows[at(i)], rows[at(j)]);
      // In the steps of similarity::Rdm, so that rounding does not rank what is tied.
      if (j > i)
        dissimilarities.push_back(std::round(std::ldexp(1 - space.correlation(rows[at(i)], rows[at(j)]), similarity::step_bits - 1)));
    }
  centre(centred_, m_);
  auto vectors = centred_;
  const auto values = linalg::symmetric_eigen(vectors, m_);
  root_.resize(at(m_ * m_));
  std::vector<double> scaled(vectors);
  Index rank = 0;
  const double least = static_cast<double>(m_) * 1e-14 * std::max(values[0], 0.0);
  for (Index c = 0; c < m_; ++c) {
    const double value = values[at(c)] > least ? values[at(c)] : 0;
    if (value > 0) ++rank;
    for (Index i = 0; i < m_; ++i) scaled[at(i * m_ + c)] *= std::sqrt(value);
  }
  linalg::product_with_transpose(linalg::view(scaled, m_, m_), linalg::view(vectors, m_, m_), root_.data(), m_);
  components_ = std::min(k, rank);
  basis_.resize(at(m_ * components_));
  for (Index i = 0; i < m_; ++i)
    for (Index c = 0; c < components_; ++c) basis_[at(i * components_ + c)] = vectors[at(i * m_ + c)];
  if (std::any_of(dissimilarities.begin(), dissimilarities.end(), [](double v) { return std::isnan(v); })) return;
  auto ranks = agreement::average_ranks(dissimilarities);
  const double mean = (static_cast<double>(ranks.size()) + 1) / 2;
  rank_.assign(at(m_ * m_), 0);
  std::size_t next = 0;
  for (Index i = 0; i < m_; ++i)
    for (Index j = i + 1; j < m_; ++j, ++next) {
      const double value = ranks[next] - mean;
      rank_[at(i * m_ + j)] = rank_[at(j * m_ + i)] = value;
      rank_squares_ += value * value;
    }
}

SmallScores small_scores(const SmallSide& x, const SmallSide& y, const std::vector<Index>& order) {
  SmallScores scores;
  scores.fill(not_known);
  const Index m = x.m_;
  if (m < 4 || y.m_ != m) return scores;
  const auto ordered = [&](const std::vector<double>& values, Index i, Index j) { return values[at(order[at(i)] * m + order[at(j)])]; };
  double rank_products = 0;
  double cross = 0;
  double diagonal = 0;
  similarity::CkaSide side_x;
  similarity::CkaSide side_y;
  for (Index i = 0; i < m; ++i) {
    const double a = x.centred_[at(i * m + i)];
    const double b = ordered(y.centred_, i, i);
    side_x.row_squares.push_back(a);
    side_y.row_squares.push_back(b);
    diagonal += a * b;
    for (Index j = 0; j < m; ++j) {
      const double of_x = x.centred_[at(i * m + j)];
      const double of_y = ordered(y.centred_, i, j);
      cross += of_x * of_y;
      side_x.self += of_x * of_x;
      side_y.self += of_y * of_y;
      if (j > i && !x.rank_.empty() && !y.rank_.empty()) rank_products += x.rank_[at(i * m + j)] * ordered(y.rank_, i, j);
    }
  }
  if (!x.rank_.empty() && !y.rank_.empty() && x.rank_squares_ > 0 && y.rank_squares_ > 0)
    scores[0] = rank_products / std::sqrt(x.rank_squares_ * y.rank_squares_);
  scores[1] = similarity::cka_debiased(cross, diagonal, side_x, side_y);
  // ||X^T P Y||_* is that of the product of the square roots of X X^T and P Y Y^T P^T.
  std::vector<double> moved(at(m * m));
  for (Index i = 0; i < m; ++i)
    for (Index j = 0; j < m; ++j) moved[at(i * m + j)] = ordered(y.root_, i, j);
  std::vector<double> product(at(m * m));
  linalg::product(linalg::view(x.root_, m, m), linalg::view(moved, m, m), product.data(), m);
  double trace_x = 0;
  double trace_y = 0;
  for (Index i = 0; i < m; ++i) {
    trace_x += x.centred_[at(i * m + i)];
    trace_y += y.centred_[at(i * m + i)];
  }
  if (trace_x > 0 && trace_y > 0) {
    double nuclear = 0;
    for (const double value : linalg::singular_values(product, m, m)) nuclear += value;
    scores[2] = nuclear / std::sqrt(trace_x * trace_y);
  }
  const Index kx = x.components_;
  const Index ky = y.components_;
  if (kx == 0 || ky == 0) return scores;
  std::vector<double> met(at(m * ky));
  for (Index i = 0; i < m; ++i)
    for (Index c = 0; c < ky; ++c) met[at(i * ky + c)] = y.basis_[at(order[at(i)] * ky + c)];
  std::vector<double> between(at(kx * ky));
  linalg::transposed_product(linalg::view(x.basis_, m, kx), linalg::view(met, m, ky), between.data(), ky);
  double sum = 0;
  for (const double value : linalg::singular_values(between, kx, ky)) sum += std::min(value, 1.0);
  scores[3] = sum / static_cast<double>(std::min(kx, ky));
  return scores;
}

} // namespace concord::subspaces
