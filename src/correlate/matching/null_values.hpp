#pragma once
/// Values of chance, each of which stands for some features, and the share of them that reaches an r. Local.

#include "concord/core/index.hpp"

#include <utility>
#include <vector>

namespace concord::correlate {

class NullValues {
public:
  /// Equal r are sums in other orders: a value so little below r reaches it.
  static constexpr double rounding = 1e-10;

  NullValues() = default;
  /// @param values  each with the features that it stands for; in any order
  explicit NullValues(std::vector<std::pair<double, double>> values);
  const std::vector<double>& sorted() const { return sorted_; } ///< ascending
  bool empty() const { return sorted_.empty(); }
  /// (w + features of values >= r) / (w + features of all), where w is the most that a value stands for: r stands as one more beside them.
  double share(double r) const;
  /// The value so many places below the largest, or the smallest.
  double from_above(Index places) const;
  /// The largest value that, with those above it, stands for more than this part of the features. Of at least one value.
  double upper(double part) const;
  /// What r must exceed so that share(r) <= level: -1 where any does, infinite where none does.
  double bound(double level) const;

private:
  /// Features of the values from a place on; 0 behind the last.
  double reaching(std::size_t place) const { return reaching_.empty() ? static_cast<double>(sorted_.size() - place) : reaching_[place]; }
  double share_from(std::size_t place) const { return (most_ + reaching(place)) / (most_ + reaching(0)); }
  std::vector<double> sorted_;
  std::vector<double> reaching_; ///< empty where each value stands for one feature
  double most_ = 1;
};

} // namespace concord::correlate
