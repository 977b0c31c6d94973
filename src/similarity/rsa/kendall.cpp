#include "similarity/rsa/kendall.hpp"

#include <algorithm>
#include <utility>

namespace concord::similarity {
namespace {

/// The `number`-th pair i < j of n, ordered by i.
std::pair<Index, Index> pair_of(Index number, Index n) {
  const Index from_end = n * (n - 1) / 2 - 1 - number;
  auto row = static_cast<Index>((std::sqrt(8 * static_cast<double>(from_end) + 1) - 1) / 2);
  while (row * (row + 1) / 2 > from_end) --row; // the root may be rounded
  while ((row + 1) * (row + 2) / 2 <= from_end) ++row;
  return {n - 2 - row, n - 1 - (from_end - row * (row + 1) / 2)};
}

/// Whether n entries have no more than `samples` pairs.
bool few(Index n, Index samples) {
  return n < (Index{1} << 31) && n * (n - 1) / 2 <= samples;
}

} // namespace

EntryPairs::EntryPairs(Index m, Index samples, std::uint64_t seed)
    : m_(m), entries_(m * (m - 1) / 2), all_(few(entries_, samples)), count_(all_ ? entries_ * (entries_ - 1) / 2 : samples),
      random_(seed, "kendall") {}

EntryPair EntryPairs::operator()(Index number) const {
  std::pair<Index, Index> entries;
  if (all_) {
    entries = pair_of(number, entries_);
  } else {
    const auto draw = 2 * static_cast<std::uint64_t>(number);
    entries.first = static_cast<Index>(random_.below(draw, static_cast<std::uint64_t>(entries_)));
    entries.second = static_cast<Index>(random_.below(draw + 1, static_cast<std::uint64_t>(entries_ - 1)));
    if (entries.second >= entries.first) ++entries.second;
  }
  const auto one = pair_of(entries.first, m_);
  const auto two = pair_of(entries.second, m_);
  return {{one.first, two.first}, {one.second, two.second}};
}

double EntryPairs::error(double mean, double square) const {
  if (all_) return 0;
  const auto n = static_cast<double>(count_);
  return std::sqrt((std::max(0.0, square - mean * mean) + 12 / n) / n);
}

} // namespace concord::similarity
