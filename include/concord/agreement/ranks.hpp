#pragma once
/// Ranks, normal scores and correlations of plain vectors. Local.

#include <vector>

namespace concord::agreement {

/// Ranks 1 to n; equal values share the mean of theirs. @throws Error bad_data: a value is NaN.
std::vector<double> average_ranks(const std::vector<double>& values);

/// z with P(Z <= z) = p for a standard normal Z, to some 1e-15 relative (Wichura 1988, algorithm AS 241, PPND16). 0 and 1 give
/// infinities, all outside [0, 1] NaN.
double inverse_normal(double p);
/// P(Z > z).
double normal_upper_tail(double z);

/// inverse_normal((rank - 1/2) / n) of average ranks (Hazen's normal scores). @throws Error bad_data: a value is NaN.
std::vector<double> normal_scores(const std::vector<double>& values);

/// NaN where one side is constant or has fewer than two values. @throws Error internal: different lengths.
double pearson(const std::vector<double>& x, const std::vector<double>& y);
/// Pearson of average ranks.
double spearman(const std::vector<double>& x, const std::vector<double>& y);

/// Reliability of the whole from the agreement r of its two halves: 2 r / (1 + r) (Spearman 1910, Brown 1910). NaN for r <= -1.
double spearman_brown(double r);

/// Mean without the floor(share n) smallest and as many largest values, as scipy.stats.trim_mean. NaN of none.
double trimmed_mean(std::vector<double> values, double share = 0.05);

/// The q-quantile by linear interpolation between order statistics, as numpy.quantile. NaN of none.
double quantile(std::vector<double> values, double q);

} // namespace concord::agreement
