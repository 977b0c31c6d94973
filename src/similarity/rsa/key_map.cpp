#include "similarity/rsa/key_map.hpp"

#include "concord/core/at.hpp"

#include <boost/sort/pdqsort/pdqsort.hpp>

#include <algorithm>
#include <limits>
#include <numeric>

namespace concord::similarity {
namespace {

constexpr double fewest_steps = 256; // that entries must span for their order to be more than rounding

double quantile(const std::vector<double>& sorted, double share) {
  return sorted[static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1))];
}

double cubes(double t) {
  return t * t * t - t;
}

} // namespace

KeyMap::KeyMap(std::vector<double> sample, bool complete, int bits) {
  boost::sort::pdqsort_branchless(sample.begin(), sample.end());
  if (sample.empty()) sample.push_back(0);
  centre_ = quantile(sample, 0.5);
  double spread = quantile(sample, 0.9) - quantile(sample, 0.1);
  if (spread > rounding && spread < fewest_steps) reason_ = "dissimilarities differ by little more than their rounding";
  if (spread <= rounding) spread = sample.back() - sample.front(); // most of them tie
  per_step_ = std::min(1.0, std::exp2(22 - std::floor(std::log2(std::max(1.0, spread)))));
  if (complete) {
    make_edges(sample);
    return;
  }
  make_cells(sample, bits);
  lost_ = share_of_ties_made(sample);
  KeyMap about_the_median(*this);
  about_the_median.origin_ = centre_;
  about_the_median.make_cells(sample, bits);
  about_the_median.lost_ = about_the_median.share_of_ties_made(sample);
  if (about_the_median.lost_ < lost_) *this = about_the_median;
}

/// Values of one key lie no further apart than what rounding may have done to equal ones.
void KeyMap::make_edges(const std::vector<double>& sorted) {
  double lowest = sorted.front(); // of a key
  for (std::size_t i = 1; i < sorted.size(); ++i) {
    if (sorted[i] - lowest <= 2 * rounding) continue;
    edges_.push_back(0.5 * (sorted[i - 1] + sorted[i]));
    lowest = sorted[i];
  }
  edges_.push_back(std::numeric_limits<double>::infinity());
  keys_ = static_cast<Index>(edges_.size());
  const auto inner = static_cast<Index>(edges_.size()) - 1; // the last one lies at infinity
  part_ = inner > 1 ? static_cast<double>(inner) / (edges_[at(inner - 1)] - edges_.front()) : 0;
  first_.assign(at(inner) + 2, 0);
  for (Index e = 0; e < inner; ++e) ++first_[part_of(edges_[at(e)]) + 1];
  std::partial_sum(first_.begin(), first_.end(), first_.begin());
}

/// Parts of the range from the first edge to the last; below and beyond belong to the first and the last. Larger values have no earlier
/// part.
std::size_t KeyMap::part_of(double value) const {
  if (part_ == 0) return 0;
  const auto last = static_cast<double>(first_.size() - 2);
  return static_cast<std::size_t>(std::clamp((value - edges_.front()) * part_, 0.0, last));
}

/// Edges spread about as values do, so a part holds one or two of them.
Key KeyMap::by_edge(double value) const {
  const std::size_t part = part_of(value);
  const auto begin = edges_.begin() + first_[part], end = edges_.begin() + first_[part + 1];
  return static_cast<Key>(std::upper_bound(begin, end, value) - edges_.begin());
}

void KeyMap::keys_of(const double* values, Index count, Key* out) const {
  if (edges_.empty())
    for (Index e = 0; e < count; ++e) out[e] = by_cell(values[e]);
  else
    for (Index e = 0; e < count; ++e) out[e] = by_edge(values[e]);
}

void KeyMap::make_cells(const std::vector<double>& sorted, int bits) {
  std::vector<double> counts(2 * cells_a_side, 0.0);
  for (const double value : sorted) {
    const double x = from_origin(value);
    counts[cell_of(std::bit_cast<std::uint64_t>(std::abs(x) + 1), x < 0)] += 1;
  }
  constexpr double for_unseen = 0.25; // part of the keys that is given to all cells alike
  const double keys = std::exp2(bits - 1);
  cells_.assign(counts.size(), {});
  keys_ = 0;
  for (std::size_t c = 0; c < counts.size(); ++c) {
    const double share =
        (1 - for_unseen) * counts[c] / static_cast<double>(sorted.size()) + for_unseen / static_cast<double>(counts.size());
    const int parts = std::clamp(static_cast<int>(std::floor(std::log2(std::max(1.0, share * keys)))), 0, bits);
    cells_[c] = {static_cast<Key>(keys_), static_cast<std::uint32_t>(low_bits - parts)};
    keys_ += Index{1} << parts;
  }
}

double KeyMap::share_of_ties_made(const std::vector<double>& sorted) const {
  const auto ties = [&](const auto& same) {
    double sum = 0;
    for (std::size_t begin = 0; begin < sorted.size();) {
      std::size_t end = begin + 1;
      while (end < sorted.size() && same(sorted[end - 1], sorted[end])) ++end;
      sum += cubes(static_cast<double>(end - begin));
      begin = end;
    }
    return sum;
  };
  const double by_keys = ties([&](double a, double b) { return by_cell(a) == by_cell(b); });
  const double by_values = ties([](double a, double b) { return b - a <= rounding; });
  return std::max(0.0, by_keys - by_values) / std::max(1.0, cubes(static_cast<double>(sorted.size())));
}

} // namespace concord::similarity
