#include "similarity/factor_scores.hpp"

#include "concord/core/at.hpp"
#include "concord/linalg/dense.hpp"

#include "similarity/measures/procrustes.hpp"
#include <algorithm>
#include <cmath>
#include <numeric>

namespace concord::similarity {
namespace {

using Wants = std::function<bool(const std::string&)>;

bool any_of(const Wants& wants, std::initializer_list<const char*> names) {
  return std::any_of(names.begin(), names.end(), wants);
}

std::string reason_of_blocks(Index rows, Index k1, Index k2) {
  if (k1 == 0 || k2 == 0) return "a side has no variance";
  if (rows - 1 > std::max(k1, k2)) return "";
  return fmt::format("{} matched rows for k = {} and {}: every score would be 1; set compare.svcca_k to a tenth of the rows", rows, k1, k2);
}

} // namespace

bool wants_blocks(const Wants& wants) {
  return any_of(wants, {"svcca", "svcca_squared", "svcca_rank1", "pwcca"});
}

bool wants_cross(const Wants& wants) {
  return any_of(wants, {"cka", "cka_debiased", "procrustes"});
}

FactorScores::FactorScores(const FactorPair& factors, Wants wants)
    : factors_(factors), wants_(std::move(wants)), rows_(factors.x().m), blocks_(wants_blocks(wants_)), cross_(wants_cross(wants_)),
      block_reason_(reason_of_blocks(rows_, factors.x().side.k, factors.y().side.k)) {}

std::vector<std::string> FactorScores::names() {
  return {"svcca", "svcca_squared", "svcca_rank1", "pwcca", "cka", "cka_debiased", "procrustes", "principal_angles"};
}

Scores FactorScores::of(const std::vector<double>& t, const std::vector<Index>& order) const {
  Scores scores;
  if (blocks_) add_blocks(scores, t);
  if (cross_) add_cross(scores, t, order);
  return scores;
}

void FactorScores::add_blocks(Scores& scores, const std::vector<double>& t) const {
  const auto& x = factors_.x();
  const auto& y = factors_.y();
  std::vector<double> c(at(x.side.k * y.side.k));
  for (Index i = 0; i < x.side.k; ++i) std::copy_n(t.begin() + i * y.components, y.side.k, c.begin() + i * y.side.k);
  if (wants_("svcca_rank1")) scores["svcca_rank1"] = svcca_rank1(c);
  if (wants_("svcca_squared")) scores["svcca_squared"] = svcca_squared(c, x.side.k, y.side.k);
  if (!block_reason_.empty()) return;
  if (wants_("svcca")) scores["svcca"] = svcca(linalg::singular_values_for_sums(c, x.side.k, y.side.k));
  if (wants_("pwcca"))
    scores["pwcca"] = x.side.k <= y.side.k ? pwcca(c, x.side.k, y.side.k, x.loadings, x.d) : pwcca(c, x.side.k, y.side.k, y.loadings, y.d);
}

/// X^T P Y is S_x T S_y up to rotations.
void FactorScores::add_cross(Scores& scores, const std::vector<double>& t, const std::vector<Index>& order) const {
  const auto& x = factors_.x();
  const auto& y = factors_.y();
  std::vector<double> cross(t);
  double squares = 0;
  for (Index i = 0; i < x.components; ++i)
    for (Index j = 0; j < y.components; ++j) {
      double& value = cross[at(i * y.components + j)];
      value *= x.singular_values[at(i)] * y.singular_values[at(j)];
      squares += value * value;
    }
  if (wants_("cka")) scores["cka"] = cka(squares, x.cka, y.cka);
  if (wants_("cka_debiased")) {
    double diagonal = 0;
    for (Index i = 0; i < rows_; ++i) diagonal += x.cka.row_squares[at(i)] * y.cka.row_squares[at(order[at(i)])];
    scores["cka_debiased"] = cka_debiased(squares, diagonal, x.cka, y.cka);
  }
  if (wants_("procrustes"))
    scores["procrustes"] = procrustes(linalg::singular_values_for_sums(cross, x.components, y.components), x.squares, y.squares);
}

std::map<std::string, Moments> FactorScores::chance(bool by_law) const {
  const auto& x = factors_.x();
  const auto& y = factors_.y();
  const auto moments = [&](const Factor& f) {
    if (by_law) return f.whole;
    return GramMoments{f.squares, f.cka.self,
                       std::inner_product(f.cka.row_squares.begin(), f.cka.row_squares.end(), f.cka.row_squares.begin(), 0.0)};
  };
  const auto basis = [&](const Factor& f) {
    if (by_law) return f.kept;
    return GramMoments{static_cast<double>(f.side.k), static_cast<double>(f.side.k), f.leverage_squares};
  };
  const Moments block = rv_moments(rows_, basis(x), basis(y));
  const double to_mean =
      std::sqrt(static_cast<double>(x.side.k) * static_cast<double>(y.side.k)) / static_cast<double>(std::min(x.side.k, y.side.k));
  return {{"svcca", {wachter_mean(rows_ - 1, x.side.k, y.side.k), not_known}},
          {"svcca_squared", {block.mean * to_mean, block.sd * to_mean, block.skew}},
          {"svcca_rank1", absolute_correlation(rows_)},
          {"cka", rv_moments(rows_, moments(x), moments(y))},
          {"cka_debiased", {0, not_known}}};
}

/// Spans in the residual stream: rows of S V^T, made orthonormal.
std::pair<double, Moments> FactorScores::angles() const {
  const auto& x = factors_.x();
  const auto& y = factors_.y();
  std::vector<double> cosines(at(x.side.k * y.side.k));
  linalg::product_with_transpose(linalg::view(x.loadings, x.side.k, x.d), linalg::view(y.loadings, y.side.k, y.d), cosines.data(),
                                 y.side.k);
  for (Index i = 0; i < x.side.k; ++i)
    for (Index j = 0; j < y.side.k; ++j) cosines[at(i * y.side.k + j)] /= x.singular_values[at(i)] * y.singular_values[at(j)];
  return {svcca_squared(cosines, x.side.k, y.side.k), random_subspaces(x.d, x.side.k, y.side.k)};
}

} // namespace concord::similarity
