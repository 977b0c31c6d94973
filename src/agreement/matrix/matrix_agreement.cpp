#include "concord/agreement/matrix/matrix_agreement.hpp"

#include "agreement/matrix/crossing.hpp"
#include <algorithm>
#include <cmath>

namespace concord::agreement {
namespace {

bool reaches(double value, double observed) {
  return value >= observed - 1e-9 * std::max(1.0, std::abs(observed));
}

/// A pair whose concepts are all defined.
struct Prepared {
  std::vector<Crossing> crossings;
  Statistic observed;
  bool defined = false; ///< else nothing is permuted
};

Agreement observed_of(const Prepared& prepared, const std::vector<Index>& kept) {
  Agreement result;
  result.kept = kept;
  result.covariates = prepared.crossings.front().covariates();
  for (const auto& crossing : prepared.crossings) {
    result.undefined_entries += crossing.undefined_entries();
    result.covariates = std::min(result.covariates, crossing.covariates());
    if (result.reason.empty()) result.reason = crossing.reason();
  }
  if (!prepared.defined) return result;
  result.r = prepared.observed.r;
  result.t = prepared.observed.t;
  result.robust_t = prepared.observed.robust_t;
  result.spearman = prepared.observed.spearman;
  for (const auto& crossing : prepared.crossings) {
    const auto s = crossing.observed();
    result.r_each.push_back(s.r);
    result.t_each.push_back(s.t);
    result.df_each.push_back(s.df);
  }
  return result;
}

Prepared prepare(const MatrixPair& pair) {
  Prepared prepared;
  prepared.crossings = crossings_of(pair);
  prepared.defined =
      std::all_of(prepared.crossings.begin(), prepared.crossings.end(), [](const Crossing& c) { return c.reason().empty(); });
  if (prepared.defined) prepared.observed = mean_statistic(prepared.crossings, identity(pair.concepts));
  return prepared;
}

/// How many permutations reach the observed statistics of a pair.
struct Reached {
  Index t = 0, robust = 0, spearman = 0, max = 0, max_robust = 0;
};

/// Of all parts together.
std::vector<Reached> added_up(std::vector<Reached> mine, const Sharing& sharing) {
  if (sharing.parts <= 1) return mine;
  constexpr Index Reached::*numbers[] = {&Reached::t, &Reached::robust, &Reached::spearman, &Reached::max, &Reached::max_robust};
  std::vector<Index> counts;
  for (const auto& one : mine)
    for (const auto number : numbers) counts.push_back(one.*number);
  sharing.add_up(counts);
  auto count = counts.begin();
  for (auto& one : mine)
    for (const auto number : numbers) one.*number = *count++;
  return mine;
}

std::vector<Reached> count_reached(const std::vector<Prepared>& pairs, const ConceptPermutations& permutations,
                                   const AgreementOptions& options) {
  std::vector<Reached> reached(pairs.size());
  constexpr Index of_a_second = 8000; // permutations of one pair of 32 concepts, some entries undefined
  const Index per_look = std::max<Index>(1, of_a_second / static_cast<Index>(pairs.size()));
  each_shared(permutations, options.permutations, options.sharing, per_look, [&](const std::vector<Index>& order) {
    constexpr double least = -std::numeric_limits<double>::infinity();
    double largest = least;
    double largest_robust = least;
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      if (!pairs[i].defined) continue;
      const auto& observed = pairs[i].observed;
      const auto s = mean_statistic(pairs[i].crossings, order);
      largest = std::max(largest, s.t);
      largest_robust = std::max(largest_robust, s.robust_t);
      reached[i].t += reaches(s.t, observed.t) ? 1 : 0;
      reached[i].robust += reaches(s.robust_t, observed.robust_t) ? 1 : 0;
      reached[i].spearman += reaches(s.spearman, observed.spearman) ? 1 : 0;
    }
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      reached[i].max += reaches(largest, pairs[i].observed.t) ? 1 : 0;
      reached[i].max_robust += reaches(largest_robust, pairs[i].observed.robust_t) ? 1 : 0;
    }
  });
  return added_up(std::move(reached), options.sharing);
}

/// One kind of permutation on all pairs.
std::vector<PermutationTest> permute(const std::vector<Prepared>& pairs, const ConceptPermutations& permutations,
                                     const AgreementOptions& options) {
  std::vector<PermutationTest> tests(pairs.size());
  for (auto& test : tests) test.count = permutations.count(options.permutations);
  if (std::none_of(pairs.begin(), pairs.end(), [](const Prepared& p) { return p.defined; })) return tests;
  const auto reached = count_reached(pairs, permutations, options);
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    if (!pairs[i].defined) continue;
    auto& test = tests[i];
    test.p = permutation_p(reached[i].t, test.count);
    test.p_robust = permutation_p(reached[i].robust, test.count);
    if (!std::isnan(pairs[i].observed.spearman)) test.p_spearman = permutation_p(reached[i].spearman, test.count);
    test.p_max = permutation_p(reached[i].max, test.count);
    test.p_max_robust = permutation_p(reached[i].max_robust, test.count);
  }
  return tests;
}

} // namespace

std::vector<Agreement> agreement_family(const std::vector<MatrixPair>& pairs, const AgreementOptions& options) {
  for (const auto& pair : pairs) {
    check(pair);
    require(pair.concepts == pairs.front().concepts && pair.groups == pairs.front().groups, ExitCode::internal,
            "pairs of a family have different concepts or groups");
  }
  std::vector<Agreement> family;
  if (pairs.empty()) return family;
  const auto kept = defined_concepts(pairs);
  std::vector<Prepared> prepared;
  prepared.reserve(pairs.size());
  family.reserve(pairs.size());
  for (const auto& pair : pairs) prepared.push_back(prepare(of_concepts(pair, kept)));
  for (const auto& p : prepared) family.push_back(observed_of(p, kept));

  const auto run = [&](const std::vector<Index>& groups, PermutationTest Agreement::*where) {
    const auto tests = permute(prepared, ConceptPermutations(static_cast<Index>(kept.size()), groups, options.seed), options);
    for (std::size_t i = 0; i < pairs.size(); ++i) family[i].*where = tests[i];
  };
  run({}, &Agreement::free);
  if (pairs.front().groups.empty()) return family;
  std::vector<Index> groups;
  groups.reserve(kept.size());
  for (const Index k : kept) groups.push_back(pairs.front().groups[static_cast<std::size_t>(k)]);
  if (!groups.empty()) run(groups, &Agreement::grouped);
  return family;
}

Agreement matrix_agreement(const MatrixPair& pair, const AgreementOptions& options) {
  return agreement_family({pair}, options).front();
}

Statistic observed_statistic(const MatrixPair& pair) {
  check(pair);
  return prepare(of_concepts(pair, defined_concepts({pair}))).observed;
}

std::vector<Index> defined_in(const MatrixPair& pair) {
  check(pair);
  return defined_concepts({pair});
}

double agreement_r(const MatrixPair& pair) {
  return observed_statistic(pair).r;
}

} // namespace concord::agreement
