#include "agreement/matrix/crossing.hpp"

#include "concord/agreement/ranks.hpp"
#include "concord/core/at.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace concord::agreement {
namespace {

constexpr double nothing = 1e-20; ///< of a sum of squares: rounding of what is left of it

double dot(const Matrix& x, const Matrix& y) {
  // Four sums at once, in an order of their own: the compiler may not reorder one.
  double sums[4] = {0, 0, 0, 0};
  std::size_t i = 0;
  for (; i + 4 <= x.size(); i += 4)
    for (std::size_t k = 0; k < 4; ++k) sums[k] += x[i + k] * y[i + k];
  for (; i < x.size(); ++i) sums[0] += x[i] * y[i];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

/// sum xy / sqrt(sum x^2 y^2): the slope's t with an error that allows for unequal variances.
double robust_t(const Matrix& x, const Matrix& y) {
  double sum = 0;
  double squares = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double product = x[i] * y[i];
    sum += product;
    squares += product * product;
  }
  return squares > 0 ? sum / std::sqrt(squares) : 0;
}

Matrix permuted_matrix(const Matrix& matrix, const std::vector<Index>& order) {
  Matrix out(matrix.size());
  const auto c = static_cast<Index>(order.size());
  double* to = out.data();
  for (Index i = 0; i < c; ++i) {
    const double* row = matrix.data() + order[at(i)] * c;
    for (Index j = 0; j < c; ++j) *to++ = row[order[at(j)]];
  }
  return out;
}

/// Takes from the masked values their mean.
void centre(Matrix& values, const Mask& mask, Index entries) {
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(entries);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = mask[i] != 0 ? values[i] - mean : 0;
}

/// A matrix with a perfect fit has no finite t: its 1 - r^2 is rounding, so it is taken to be 1e-12.
double t_of(double r, Index df) {
  return r * std::sqrt(static_cast<double>(df) / std::max(1e-12, 1 - r * r));
}

/// Ranks of the mask's entries, centred.
Matrix masked_ranks(const Matrix& matrix, const Mask& mask, Index entries) {
  std::vector<double> values;
  for (std::size_t i = 0; i < mask.size(); ++i)
    if (mask[i] != 0) values.push_back(matrix[i]);
  const auto ranks = average_ranks(values);
  Matrix out(matrix.size(), 0.0);
  std::size_t next = 0;
  for (std::size_t i = 0; i < mask.size(); ++i)
    if (mask[i] != 0) out[i] = ranks[next++];
  centre(out, mask, entries);
  return out;
}

} // namespace

void check(const MatrixPair& pair) {
  const auto entries = at(pair.concepts * pair.concepts);
  require((pair.a.size() == 1 || pair.a.size() == 2) && pair.a.size() == pair.b.size(), ExitCode::internal,
          "{} and {} matrices: one or two of each side make a pair", pair.a.size(), pair.b.size());
  for (const auto* list : {&pair.a, &pair.b, &pair.covariates})
    for (const auto& m : *list)
      require(m.size() == entries, ExitCode::internal, "a matrix of {} concepts has {} entries", pair.concepts, m.size());
  require(pair.groups.empty() || pair.groups.size() == at(pair.concepts), ExitCode::internal, "{} concepts with {} groups", pair.concepts,
          pair.groups.size());
}

std::vector<Index> defined_concepts(const std::vector<MatrixPair>& pairs) {
  std::vector<const Matrix*> matrices;
  for (const auto& pair : pairs)
    for (const auto* list : {&pair.a, &pair.b, &pair.covariates})
      for (const auto& m : *list) matrices.push_back(&m);
  const Index c = pairs.empty() ? 0 : pairs.front().concepts;
  auto kept = identity(c);
  const auto defined_somewhere = [&](const Matrix& m, Index concept_, bool row) {
    return std::any_of(kept.begin(), kept.end(), [&](Index other) {
      return other != concept_ && !std::isnan(m[at(row ? concept_ * c + other : other * c + concept_)]);
    });
  };
  // Leaving one out may empty the row of another.
  for (bool changed = true; changed;) {
    std::vector<Index> next;
    for (const Index k : kept)
      if (std::all_of(matrices.begin(), matrices.end(),
                      [&](const Matrix* m) { return defined_somewhere(*m, k, true) && defined_somewhere(*m, k, false); }))
        next.push_back(k);
    changed = next.size() != kept.size();
    kept = std::move(next);
  }
  return kept;
}

Matrix of_concepts(const Matrix& matrix, Index concepts, const std::vector<Index>& kept) {
  Matrix out;
  out.reserve(kept.size() * kept.size());
  for (const Index i : kept)
    for (const Index j : kept) out.push_back(matrix[at(i * concepts + j)]);
  return out;
}

MatrixPair of_concepts(const MatrixPair& pair, const std::vector<Index>& kept) {
  MatrixPair out;
  out.concepts = static_cast<Index>(kept.size());
  const auto take = [&](const std::vector<Matrix>& from, std::vector<Matrix>& to) {
    for (const auto& m : from) to.push_back(of_concepts(m, pair.concepts, kept));
  };
  take(pair.a, out.a);
  take(pair.b, out.b);
  take(pair.covariates, out.covariates);
  if (!pair.groups.empty())
    for (const Index k : kept) out.groups.push_back(pair.groups[at(k)]);
  return out;
}

Mask common_mask(Index concepts, const std::vector<const Matrix*>& matrices) {
  Mask mask(at(concepts * concepts), 1);
  for (Index i = 0; i < concepts; ++i) mask[at(i * concepts + i)] = 0;
  for (const auto* m : matrices)
    for (std::size_t i = 0; i < mask.size(); ++i)
      if (std::isnan((*m)[i])) mask[i] = 0;
  return mask;
}

Matrix masked_scores(const Matrix& matrix, const Mask& mask) {
  std::vector<double> values;
  for (std::size_t i = 0; i < mask.size(); ++i)
    if (mask[i] != 0) values.push_back(matrix[i]);
  const auto scores = normal_scores(values);
  Matrix out(matrix.size(), 0.0);
  std::size_t next = 0;
  for (std::size_t i = 0; i < mask.size(); ++i)
    if (mask[i] != 0) out[i] = scores[next++];
  return out;
}

std::vector<Matrix> covariate_basis(const std::vector<Matrix>& scores, const TwoWay& two_way) {
  std::vector<Matrix> basis;
  for (const auto& covariate : scores) {
    auto direction = covariate;
    two_way.take_out(direction);
    for (int pass = 0; pass < 2; ++pass) // once more for what rounding left
      for (const auto& before : basis) {
        const double share = dot(direction, before);
        for (std::size_t i = 0; i < direction.size(); ++i) direction[i] -= share * before[i];
      }
    const double squares = dot(direction, direction);
    if (!(squares > nothing * dot(covariate, covariate))) continue;
    for (double& v : direction) v /= std::sqrt(squares);
    basis.push_back(std::move(direction));
  }
  return basis;
}

void take_out(Matrix& values, const TwoWay& two_way, const std::vector<Matrix>& basis) {
  two_way.take_out(values);
  for (const auto& direction : basis) {
    const double share = dot(values, direction);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] -= share * direction[i];
  }
}

Crossing::Crossing(Index concepts, const Matrix& a, const Matrix& b, const std::vector<Matrix>& dyadic) : c_(concepts) {
  std::vector<const Matrix*> all{&a, &b};
  for (const auto& z : dyadic) all.push_back(&z);
  mask_ = common_mask(c_, all);
  const TwoWay two_way(c_, mask_);
  entries_ = two_way.entries();
  if (entries_ == 0) {
    reason_ = "no entry is defined on both sides";
    return;
  }
  for (const auto& z : dyadic) covariate_scores_.push_back(masked_scores(z, mask_));
  basis_ = covariate_basis(covariate_scores_, two_way);
  residual_a_ = masked_scores(a, mask_);
  residual_b_ = masked_scores(b, mask_);
  const double before_a = dot(residual_a_, residual_a_);
  const double before_b = dot(residual_b_, residual_b_);
  take_out(residual_a_, two_way, basis_);
  take_out(residual_b_, two_way, basis_);
  const double squares_a = dot(residual_a_, residual_a_);
  norm_a_ = std::sqrt(squares_a);
  squares_b_ = dot(residual_b_, residual_b_);
  df_ = entries_ - two_way.rank() - covariates() - 1;
  if (df_ < 1)
    reason_ = fmt::format("{} entries are too few for {} row, column and covariate effects", entries_, two_way.rank() + covariates());
  else if (!(squares_a > nothing * before_a) || !(squares_b_ > nothing * before_b))
    reason_ = "rows, columns and covariates leave nothing of one side";
  rank_a_ = masked_ranks(a, mask_, entries_);
  rank_b_ = masked_ranks(b, mask_, entries_);
  rank_norm_ = std::sqrt(dot(rank_a_, rank_a_)) * std::sqrt(dot(rank_b_, rank_b_));
}

Statistic Crossing::observed() const {
  return permuted(identity(c_));
}

Statistic Crossing::permuted(const std::vector<Index>& order) const {
  return undefined_entries() == 0 ? of_complete(order) : of_incomplete(order);
}

/// Permuted residuals are still free of rows and columns, so that only covariates are to be taken out of them.
Statistic Crossing::of_complete(const std::vector<Index>& order) const {
  auto b = permuted_matrix(residual_b_, order);
  for (const auto& direction : basis_) {
    const double share = dot(b, direction);
    for (std::size_t i = 0; i < b.size(); ++i) b[i] -= share * direction[i];
  }
  const double squares = dot(b, b);
  Statistic s;
  s.df = df_;
  s.r = squares > nothing * squares_b_ ? dot(residual_a_, b) / (norm_a_ * std::sqrt(squares)) : 0;
  s.t = t_of(s.r, df_);
  s.robust_t = robust_t(residual_a_, b);
  s.spearman = rank_norm_ > 0 ? dot(rank_a_, permuted_matrix(rank_b_, order)) / rank_norm_ : not_known;
  return s;
}

/// Undefined entries of B move, so every permutation has a mask, and a two-way model, of its own.
Statistic Crossing::of_incomplete(const std::vector<Index>& order) const {
  Mask mask = mask_;
  for (Index i = 0; i < c_; ++i)
    for (Index j = 0; j < c_; ++j) mask[at(i * c_ + j)] &= mask_[at(order[at(i)] * c_ + order[at(j)])];
  const TwoWay two_way(c_, mask);
  Statistic s;
  s.t = s.robust_t = std::numeric_limits<double>::infinity();
  if (two_way.entries() == 0) return s;
  const auto basis = covariate_basis(covariate_scores_, two_way);
  auto a = residual_a_; // regressing A on a design that holds the fit is regressing A's residuals on it
  auto b = permuted_matrix(residual_b_, order);
  take_out(a, two_way, basis);
  take_out(b, two_way, basis);
  s.df = two_way.entries() - two_way.rank() - static_cast<Index>(basis.size()) - 1;
  const double aa = dot(a, a);
  const double bb = dot(b, b);
  if (s.df >= 1) {
    s.r = aa > nothing * norm_a_ * norm_a_ && bb > nothing * squares_b_ ? dot(a, b) / std::sqrt(aa * bb) : 0;
    s.t = t_of(s.r, s.df);
    s.robust_t = robust_t(a, b);
  }
  auto rank_a = rank_a_;
  auto rank_b = permuted_matrix(rank_b_, order);
  for (std::size_t i = 0; i < mask.size(); ++i)
    if (mask[i] == 0) rank_a[i] = rank_b[i] = 0;
  centre(rank_a, mask, two_way.entries());
  centre(rank_b, mask, two_way.entries());
  const double norm = std::sqrt(dot(rank_a, rank_a)) * std::sqrt(dot(rank_b, rank_b));
  s.spearman = norm > 0 ? dot(rank_a, rank_b) / norm : not_known;
  return s;
}

std::vector<Crossing> crossings_of(const MatrixPair& pair) {
  std::vector<Crossing> crossings;
  for (std::size_t half = 0; half < pair.a.size(); ++half)
    crossings.emplace_back(pair.concepts, pair.a[half], pair.b[pair.b.size() - 1 - half], pair.covariates);
  return crossings;
}

Statistic mean_statistic(const std::vector<Crossing>& crossings, const std::vector<Index>& order) {
  Statistic mean{0, 0, 0, 0, 0};
  for (const auto& crossing : crossings) {
    const auto s = crossing.permuted(order);
    const auto n = static_cast<double>(crossings.size());
    mean.r += s.r / n;
    mean.t += s.t / n;
    mean.robust_t += s.robust_t / n;
    mean.spearman += s.spearman / n;
    if (mean.df == 0) mean.df = s.df;
  }
  return mean;
}

std::vector<Index> identity(Index concepts) {
  std::vector<Index> order(at(concepts));
  std::iota(order.begin(), order.end(), Index{0});
  return order;
}

} // namespace concord::agreement
