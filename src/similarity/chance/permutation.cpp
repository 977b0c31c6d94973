#include "concord/similarity/chance/permutation.hpp"

#include "concord/core/philox.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <utility>

namespace concord::similarity {

std::vector<Index> shuffled_pairing(Index m, std::uint64_t seed, Index number) {
  return shuffled(m, Philox(seed, "null", static_cast<std::uint64_t>(number)));
}

std::vector<Index> stratified_pairing(const std::vector<Index>& strata, std::uint64_t seed, Index number) {
  const Philox random(seed, "stratified", static_cast<std::uint64_t>(number));
  const auto m = static_cast<Index>(strata.size());
  std::vector<Index> sorted(strata.size());
  std::iota(sorted.begin(), sorted.end(), Index{0});
  const auto stratum = [&](Index i) { return strata[static_cast<std::size_t>(i)]; };
  std::stable_sort(sorted.begin(), sorted.end(), [&](Index a, Index b) { return stratum(a) < stratum(b); });
  auto mixed = sorted;
  for (Index begin = 0; begin < m;) {
    Index end = begin + 1;
    while (end < m && stratum(sorted[static_cast<std::size_t>(end)]) == stratum(sorted[static_cast<std::size_t>(begin)])) ++end;
    for (Index i = end - 1; i > begin; --i) { // Fisher-Yates within the stratum
      const auto other = begin + static_cast<Index>(random.below(static_cast<std::uint64_t>(i), static_cast<std::uint64_t>(i - begin + 1)));
      std::swap(mixed[static_cast<std::size_t>(i)], mixed[static_cast<std::size_t>(other)]);
    }
    begin = end;
  }
  std::vector<Index> order(strata.size());
  for (std::size_t i = 0; i < sorted.size(); ++i) order[static_cast<std::size_t>(sorted[i])] = mixed[i];
  return order;
}

std::vector<Index> strata_of(const std::vector<double>& rates, const std::vector<double>& norms) {
  constexpr double rate_bins = 2;  // a power of ten
  constexpr double norm_bins = 10; // so that unit norms, which differ by rounding, fall in the middle of one
  std::map<std::pair<Index, Index>, Index> numbers;
  std::vector<Index> strata;
  for (std::size_t i = 0; i < norms.size(); ++i) {
    const auto bin = [](double value, double bins) { return value > 0 ? std::llround(bins * std::log10(value)) : Index{-1000}; };
    const std::pair<Index, Index> key{rates.empty() ? 0 : bin(rates[i], rate_bins), bin(norms[i], norm_bins)};
    strata.push_back(numbers.emplace(key, static_cast<Index>(numbers.size())).first->second);
  }
  return strata;
}

} // namespace concord::similarity
