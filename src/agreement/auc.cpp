#include "agreement/auc.hpp"

#include "concord/agreement/ranks.hpp"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

namespace concord::agreement {
namespace {

/// Equal values.
struct TieGroup {
  Index positives = 0;
  Index negatives = 0;
  Index size() const { return positives + negatives; }
};

class Ascending {
public:
  explicit Ascending(const AucSide& side) : values_(side.values), zeros_(side.zeros) {
    for (const double v : values_) require(!std::isnan(v), ExitCode::bad_data, "a feature's value at a span is not a number");
    if (!std::is_sorted(values_.begin(), values_.end())) {
      sorted_.assign(values_.begin(), values_.end());
      std::sort(sorted_.begin(), sorted_.end());
      values_ = sorted_;
    }
  }
  bool done() const { return next_ == values_.size() && zeros_ == 0; }
  double value() const { return next_ < values_.size() && (zeros_ == 0 || values_[next_] <= 0) ? values_[next_] : 0; }
  /// Takes all members that equal `value`.
  Index take(double value) {
    Index count = 0;
    for (; next_ < values_.size() && values_[next_] == value; ++next_) ++count;
    if (value == 0) count += std::exchange(zeros_, 0);
    return count;
  }

private:
  std::span<const double> values_;
  std::vector<double> sorted_;
  Index zeros_ = 0;
  std::size_t next_ = 0;
};

std::vector<TieGroup> tie_groups(const AucSide& positives, const AucSide& negatives) {
  Ascending one(positives);
  Ascending other(negatives);
  std::vector<TieGroup> groups;
  while (!one.done() || !other.done()) {
    const double value = one.done() ? other.value() : other.done() ? one.value() : std::min(one.value(), other.value());
    groups.push_back({one.take(value), other.take(value)});
  }
  return groups;
}

std::int64_t twice_u(const std::vector<TieGroup>& groups) {
  std::int64_t sum = 0;
  Index below = 0; // negatives
  for (const auto& g : groups) {
    sum += g.positives * (2 * below + g.negatives);
    below += g.negatives;
  }
  return sum;
}

/// The number of labellings with `chosen` members of class one and each value of their 2 U, group after group in ascending order.
/// A group of t of which k are chosen adds k (2 (below - j) + t - k), where j of the `below` members before it were chosen.
class LabellingCounts {
public:
  LabellingCounts(Index chosen, Index others)
      : chosen_(chosen), width_(2 * chosen * others + 1), counts_(static_cast<std::size_t>((chosen + 1) * width_), 0.0) {
    counts_[0] = 1;
  }

  void add(Index t) {
    for (Index j = std::min(chosen_, below_ + t); j >= 0; --j) { // descending: a group takes from states that it has not yet changed
      double* to = row(j);
      for (Index k = 1; k <= std::min(j, t); ++k) {
        if (j - k > below_) continue;
        const Index shift = k * (2 * (below_ - (j - k)) + t - k);
        if (shift >= width_) continue; // more members of the other class than there are
        const double ways = binomial(t, k);
        const double* from = row(j - k);
        for (Index u = 0; u + shift < width_; ++u) to[u + shift] += ways * from[u];
      }
    }
    below_ += t;
  }

  /// Share of labellings with 2 U of at least `bound`.
  double upper_tail(Index bound) const {
    const double* all = counts_.data() + chosen_ * width_;
    double tail = 0;
    double total = 0;
    for (Index u = width_ - 1; u >= 0; --u) {
      total += all[u];
      if (u >= bound) tail += all[u];
    }
    return tail / total;
  }

private:
  double* row(Index j) { return counts_.data() + j * width_; }
  static double binomial(Index n, Index k) {
    double ways = 1;
    for (Index i = 0; i < k; ++i) ways = ways * static_cast<double>(n - i) / static_cast<double>(i + 1);
    return ways;
  }
  Index chosen_;
  Index width_;
  Index below_ = 0;
  std::vector<double> counts_;
};

/// Additions of the above, at most.
double work(const std::vector<TieGroup>& groups, Index chosen, Index others) {
  double pairs = 0;
  for (const auto& g : groups) {
    const auto k = static_cast<double>(std::min(g.size(), chosen));
    pairs += k * (static_cast<double>(chosen) - 0.5 * (k - 1));
  }
  return pairs * (2 * static_cast<double>(chosen) * static_cast<double>(others) + 1);
}

double exact_p(const std::vector<TieGroup>& groups, const Auc& auc) {
  // The smaller class is laid out. Seen from the negatives, in descending order, the groups are the same and U is the same number.
  const bool by_positives = auc.positives <= auc.negatives;
  LabellingCounts counts(std::min(auc.positives, auc.negatives), std::max(auc.positives, auc.negatives));
  if (by_positives)
    for (auto g = groups.begin(); g != groups.end(); ++g) counts.add(g->size());
  else
    for (auto g = groups.rbegin(); g != groups.rend(); ++g) counts.add(g->size());
  return counts.upper_tail(auc.twice_u);
}

} // namespace

Auc auc(const AucSide& positives, const AucSide& negatives, const AucOptions& options) {
  Auc result;
  result.positives = static_cast<Index>(positives.values.size()) + positives.zeros;
  result.negatives = static_cast<Index>(negatives.values.size()) + negatives.zeros;
  const auto groups = tie_groups(positives, negatives);
  if (result.positives == 0 || result.negatives == 0) return result;
  const auto n1 = static_cast<double>(result.positives);
  const auto n0 = static_cast<double>(result.negatives);
  require(2 * n1 * n0 < 0x1p62, ExitCode::bad_data, "{} spans against {}: their pairs cannot be counted in 64 bits", result.positives,
          result.negatives);
  result.twice_u = twice_u(groups);
  const double pairs = n1 * n0;
  result.auc = static_cast<double>(result.twice_u) / (2 * pairs);
  const double n = n1 + n0;
  double ties = 0;
  for (const auto& g : groups) {
    const auto t = static_cast<double>(g.size());
    ties += t * t * t - t;
  }
  const double untied = groups.size() == 1 ? 0 : 1 - ties / (n * n * n - n);
  result.sd = std::sqrt((n + 1) / (12 * pairs) * untied);
  const Index smaller = std::min(result.positives, result.negatives);
  result.exact = smaller < options.exact_below && work(groups, smaller, std::max(result.positives, result.negatives)) <= options.exact_work;
  if (result.exact)
    result.p = exact_p(groups, result);
  else // 2 U - n1 n0 is a whole number: no rounding before the division
    result.p = result.sd > 0 ? normal_upper_tail((static_cast<double>(result.twice_u) - pairs - 1) / (2 * pairs * result.sd)) : 1.0;
  return result;
}

} // namespace concord::agreement
