#pragma once
/// How large the best of many correlations gets by chance, and what is beyond it. Local.
///
/// The largest of F correlations of a feature that has no counterpart is far from 0, the more the rarer the feature. So r of the best
/// partner is judged by what the same features reach when B's documents are shifted against A's (docs/concepts.md): the null of a feature
/// is the best r of the features that fire about as often.

#include "correlate/matching/null_values.hpp"
#include "correlate/null/null_sample.hpp"
#include <vector>

namespace concord::correlate {

/// P(X > x) beyond the largest of some values of chance: a generalised Pareto law fitted to the values above a high quantile, as the
/// largest of many correlations have it (Pickands 1975; Knijnenburg et al. 2009 for p of permutations). Its tail is taken to be no lighter
/// than exponential, so that r's upper end is not guessed from the values.
class Tail {
public:
  Tail() = default;
  /// Of ascending values. No fit where they are few, tie too often or do not follow the law.
  explicit Tail(const std::vector<double>& sorted);
  bool fitted() const { return scale_ > 0; }
  /// Where it takes over from counting.
  double begin() const { return begin_; }
  /// P(X > x | X > begin()), x >= begin().
  double beyond(double x) const;

private:
  double begin_ = 0;
  double scale_ = 0; ///< 0: not fitted
  double shape_ = 0;
};

class BestNull {
public:
  /// @param null    best r of the sample's values; where the sample has none [shifts, F] of each feature with shifted rows
  /// @param counts  [F] active rows; features without any have no null
  /// @throws Error internal where the sample has no value of the dense or of the other live features
  BestNull(const std::vector<double>& null, const NullSample& sample, const std::vector<Index>& counts);
  /// (1 + null values >= r) / (1 + null values) where ten of them reach r; beyond, less by the fitted tail, or where none could be fitted
  /// by the share of all features' null values that exceed their own window's tenth by as large a factor; down to 1 / (1 + null values of
  /// all features). Never 0. NaN without a null.
  ///
  /// Of a sample each value counts as the features that it stands for, and r as the most of them. A window has few values: beyond its tenth
  /// p is that of all windows' values together, each as a multiple of its window's upper eighth, whose tail is fitted; the larger
  /// where a window has a fit of its own, else from its own tenth on.
  ///
  /// Dense features and others are judged by their like alone. Where the fewer of the two have too few values for a fit, p beyond the
  /// largest of them falls as that of the other windows' values together does beyond their upper eighth, and of fewer than 12 values no
  /// further than to a twentieth.
  double p(Index feature, double r) const;
  /// What r must exceed for p <= level: infinite where no r has so small a p. NaN without a null.
  double threshold(Index feature, double level) const;
  bool empty() const { return windows_.empty(); }

private:
  /// Whose null values are at hand: features, each with one at every shift; of a sample its values, each by itself.
  struct Drawn {
    std::vector<Index> counts;
    std::vector<double> weights; ///< features that a value stands for; empty: one
    double dense;                ///< those active on more rows have windows of their own
    bool is_sample() const { return !weights.empty(); }
    double weight(std::size_t j) const { return is_sample() ? weights[j] : 1; }
  };
  /// A window's null values, each as if its feature fired as often as those in the middle: r goes by a power of the count.
  struct Scale {
    double power = 0;
    NullValues values;
    Tail tail;
    double tenth = 0;  ///< largest
    double eighth = 0; ///< what an eighth of them exceed
  };
  /// Features that fire about as often. The median of r and its upper tail may go by different powers of the count. Where counts differ
  /// much there is a scale for each, and the larger p holds; else one for both.
  struct Window {
    double centre = 0;  ///< mean logarithm of the counts of those that it is for
    bool alone = false; ///< of the fewer of dense features and others: apart from the others' windows
    std::vector<Scale> scales;
  };
  /// A part of live_.
  struct Part {
    Index begin, width;
  };
  BestNull(const std::vector<double>& null, const Drawn& drawn);
  void add_windows(const std::vector<double>& null, const Drawn& drawn, Part among, bool alone);
  Window window_of(const std::vector<double>& null, const Drawn& drawn, Part of, Part those, bool alone);
  std::vector<double> powers_of(const std::vector<double>& null, Part of, int rounds) const;
  Scale scale_of(const std::vector<double>& null, const Drawn& drawn, Part of, double centre, double power) const;
  NullValues multiples_of(double Scale::*number, bool above, const std::vector<double>& null, const Drawn& drawn) const;
  void find_windows(const std::vector<Index>& counts, const Drawn& drawn);
  double factor(const Scale& scale, double centre, std::size_t feature) const;
  double p_beyond(const Window& window, const Scale& scale, double r) const;
  double p_pooled(double multiple) const;
  double p_alone(const Scale& scale, double r) const;
  double p_by(const Window& window, const Scale& scale, double r) const;
  double threshold_by(const Window& window, const Scale& scale, double level) const;
  bool sampled_ = false;
  std::vector<std::int32_t> live_;   ///< features with a null, by count
  std::vector<std::int32_t> window_; ///< [F], -1: none
  std::vector<double> logarithm_;    ///< [F] of the count
  std::vector<Window> windows_;
  NullValues excesses_; ///< factors above 1 by which null values exceed their window's tenth
  NullValues pooled_;   ///< null values as multiples of their window's upper eighth
  Tail pooled_tail_;
  double least_ = 1; ///< p
};

/// Benjamini and Hochberg 1995: q = min over larger p of p * m / rank. NaN is no test and stays.
std::vector<double> benjamini_hochberg(const std::vector<double>& p);

} // namespace concord::correlate
