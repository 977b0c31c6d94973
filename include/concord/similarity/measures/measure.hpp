#pragma once
/// A similarity score beside what chance gives. Local.

#include "concord/core/index.hpp"

#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace concord::similarity {

inline constexpr double not_known = std::numeric_limits<double>::quiet_NaN();

/// Scores that one kind of chance gave.
struct Null {
  std::vector<double> values;
  double mean = not_known;
  double sd = not_known;
  double p = not_known; ///< (1 + number of values >= score) / (1 + values): never 0
};

/// Where p comes from: nowhere, shuffles, or a law with the mean, standard deviation and skewness of all shuffles (chance.hpp), because no
/// shuffles were asked for or because their tables do not fit into memory.
enum class PFrom { nothing, shuffles, law, law_for_memory };

/// One measure of similarity of two spaces: larger is more alike.
struct Measure {
  double score = not_known; ///< not defined where `reason` says why
  std::string reason;
  double formula_mean = not_known; ///< of shuffled pairings, in closed form (chance.hpp), where there is one
  double formula_sd = not_known;
  Null shuffled;                ///< rows of Y permuted
  Null stratified;              ///< permuted among features of like firing rate and decoder norm
  Null subsets;                 ///< as many features drawn at random, each with its best partner
  double z = not_known;         ///< (score - mean) / sd of the shuffled null; of the formulas where nothing was shuffled
  double formula_p = not_known; ///< of a law, where it was asked for
  double p = not_known;         ///< of the shuffled null; formula_p where nothing was shuffled
  PFrom p_from = PFrom::nothing;
  double adjusted = not_known;   ///< (score - mean) / (1 - mean): 0 at chance, 1 at identity
  double calibrated = not_known; ///< max(0, (score - t) / (1 - t)), t the (1 - level) quantile of score and null: 0 unless significant
};

/// A measure that is not defined, with the reason.
Measure undefined(std::string reason);

/// How far apart rounding may bring two values that are equal: a null value this near below the score counts as reaching it. Scores of two
/// pairings are sums in different orders.
double rounding_of(double score, const std::vector<double>& null);

/// Derives all that follows from score, null values and formulas. `level` of `calibrated` (Aristotelian view, arXiv 2602.14486).
void finish(Measure& measure, double level);

/// What is known of a measure as one number each: "score", "null_mean", "z", "q" (NaN until all pairs are known) and so on.
const std::vector<std::string>& measure_columns();
std::vector<double> measure_values(const Measure& measure);

/// Benjamini-Hochberg: the false discovery rate at which each p would be called; NaN stays NaN and does not count.
std::vector<double> false_discovery_rates(const std::vector<double>& p);

/// Westfall-Young single step: for each of several scores the share of permutations in which the largest standardised null of all is at
/// least the standardised score. A score is standardised by the mean and standard deviation of its null and itself. `nulls[i][b]`: score i
/// under permutation b. Valid only where permutation b is the same for all, that is where all scores are of the same items in the same
/// order.
std::vector<double> max_statistic_p(const std::vector<double>& scores, const std::vector<std::vector<double>>& nulls);

} // namespace concord::similarity
