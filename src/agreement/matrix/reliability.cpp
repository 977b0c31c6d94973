#include "concord/agreement/matrix/matrix_agreement.hpp"
#include "concord/agreement/ranks.hpp"
#include "concord/core/at.hpp"
#include "concord/core/philox.hpp"

#include "agreement/matrix/crossing.hpp"
#include <algorithm>
#include <cmath>
#include <numeric>

namespace concord::agreement {
namespace {

/// r of the two halves of one model.
double half_r(const MatrixPair& pair, const std::vector<Matrix>& halves) {
  return halves.size() == 2 ? agreement_r({pair.concepts, {halves[0]}, {halves[1]}, pair.covariates, {}}) : not_known;
}

EffectInterval interval_of(double observed, std::vector<double> replicates, double level) {
  EffectInterval e;
  e.observed = observed;
  e.percentile = percentile_interval(replicates, level);
  replicates.erase(std::remove_if(replicates.begin(), replicates.end(), [](double v) { return std::isnan(v); }), replicates.end());
  if (replicates.size() < 2) return e;
  const auto n = static_cast<double>(replicates.size());
  e.mean = std::accumulate(replicates.begin(), replicates.end(), 0.0) / n;
  e.interval = {e.percentile.low + observed - e.mean, e.percentile.high + observed - e.mean};
  double squares = 0;
  for (const double v : replicates) squares += (v - e.mean) * (v - e.mean);
  e.error = std::sqrt(squares / (n - 1));
  return e;
}

/// What rows, columns and covariates make of one matrix, in normal scores, and what they leave.
struct Parts {
  Mask mask;
  Matrix fit, residual;
};

Parts parts_of(const Matrix& matrix, const MatrixPair& pair) {
  std::vector<const Matrix*> all{&matrix};
  for (const auto& z : pair.covariates) all.push_back(&z);
  Parts parts;
  parts.mask = common_mask(pair.concepts, all);
  const TwoWay two_way(pair.concepts, parts.mask);
  std::vector<Matrix> scores;
  for (const auto& z : pair.covariates) scores.push_back(masked_scores(z, parts.mask));
  parts.fit = masked_scores(matrix, parts.mask);
  parts.residual = parts.fit;
  take_out(parts.residual, two_way, covariate_basis(scores, two_way));
  for (std::size_t i = 0; i < parts.fit.size(); ++i) parts.fit[i] -= parts.residual[i];
  return parts;
}

/// The fit and the residuals of other concepts; undefined where either is.
Matrix with_permuted_residuals(const Parts& parts, const std::vector<Index>& order) {
  const auto c = static_cast<Index>(order.size());
  Matrix out(parts.fit.size(), not_known);
  for (Index i = 0; i < c; ++i)
    for (Index j = 0; j < c; ++j) {
      const auto here = at(i * c + j);
      const auto there = at(order[at(i)] * c + order[at(j)]);
      if (parts.mask[here] != 0 && parts.mask[there] != 0) out[here] = parts.fit[here] + parts.residual[there];
    }
  return out;
}

} // namespace

double reliability_ceiling(double a, double b) {
  return a > 0 && b > 0 ? std::sqrt(a) * std::sqrt(b) : not_known;
}

Reliability reliability(const MatrixPair& pair) {
  check(pair);
  Reliability result;
  result.half_a = half_r(pair, pair.a);
  result.half_b = half_r(pair, pair.b);
  result.a = spearman_brown(result.half_a);
  result.b = spearman_brown(result.half_b);
  result.ceiling = reliability_ceiling(result.a, result.b);
  result.half_ceiling = reliability_ceiling(result.half_a, result.half_b);
  const double r = agreement_r(pair);
  result.ratio = r / result.ceiling;
  result.half_ratio = r / result.half_ceiling;
  result.measurable = result.a >= least_reliability && result.b >= least_reliability;
  return result;
}

AgreementNumbers agreement_numbers(const MatrixPair& pair) {
  const auto statistic = observed_statistic(pair);
  const auto reliable = reliability(pair);
  return {statistic.r, statistic.spearman, reliable.ratio, reliable.half_ratio};
}

AgreementIntervals agreement_intervals(const AgreementNumbers& observed, const std::vector<AgreementNumbers>& replicates, double level) {
  const auto of = [&](double AgreementNumbers::*number) {
    std::vector<double> all;
    all.reserve(replicates.size());
    for (const auto& one : replicates) all.push_back(one.*number);
    return interval_of(observed.*number, std::move(all), level);
  };
  AgreementIntervals result{of(&AgreementNumbers::r), of(&AgreementNumbers::spearman), of(&AgreementNumbers::ratio),
                            of(&AgreementNumbers::half_ratio)};
  result.replicates = std::count_if(replicates.begin(), replicates.end(), [](const AgreementNumbers& one) { return !std::isnan(one.r); });
  return result;
}

AgreementIntervals agreement_intervals(const MatrixPair& pair, Index replicates, const std::function<MatrixPair(Index b)>& replicate,
                                       double level) {
  std::vector<AgreementNumbers> all;
  for (Index b = 0; b < replicates; ++b) all.push_back(agreement_numbers(replicate(b)));
  return agreement_intervals(agreement_numbers(pair), all, level);
}

SelfLevel self_level(const MatrixPair& whole, const SelfLevelOptions& options) {
  check(whole);
  const auto pair = of_concepts(whole, defined_concepts({whole}));
  std::vector<Parts> a, b;
  for (const auto& m : pair.a) a.push_back(parts_of(m, pair));
  for (const auto& m : pair.b) b.push_back(parts_of(m, pair));
  Index grouped = 0, free = 0, grouped_robust = 0, free_robust = 0, mantel = 0;
  SelfLevel level;
  level.alpha = options.alpha;
  for (Index d = options.first; d < options.first + options.draws; ++d) {
    const Philox seeds(options.seed, "self level", static_cast<std::uint64_t>(d));
    const ConceptPermutations permutations(pair.concepts, pair.groups, seeds.bits(0));
    MatrixPair null{pair.concepts, {}, {}, pair.covariates, pair.groups};
    for (const auto& parts : a) null.a.push_back(with_permuted_residuals(parts, permutations.drawn(0)));
    for (const auto& parts : b) null.b.push_back(with_permuted_residuals(parts, permutations.drawn(1)));
    const auto test = matrix_agreement(null, {options.permutations, seeds.bits(1)});
    if (std::isnan(test.r)) continue;
    ++level.draws;
    grouped += test.grouped.p <= options.alpha ? 1 : 0;
    free += test.free.p <= options.alpha ? 1 : 0;
    grouped_robust += test.grouped.p_robust <= options.alpha ? 1 : 0;
    free_robust += test.free.p_robust <= options.alpha ? 1 : 0;
    mantel += test.free.p_spearman <= options.alpha ? 1 : 0;
  }
  if (level.draws == 0) return level;
  const auto n = static_cast<double>(level.draws);
  level.free = static_cast<double>(free) / n;
  level.free_robust = static_cast<double>(free_robust) / n;
  level.mantel = static_cast<double>(mantel) / n;
  level.free_interval = wilson_interval(free, level.draws, 0.95);
  if (pair.groups.empty()) return level;
  level.grouped = static_cast<double>(grouped) / n;
  level.grouped_robust = static_cast<double>(grouped_robust) / n;
  level.grouped_interval = wilson_interval(grouped, level.draws, 0.95);
  return level;
}

} // namespace concord::agreement
