#include "concord/agreement/permutations.hpp"

#include "concord/core/philox.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <utility>

namespace concord::agreement {
namespace {

constexpr std::uint64_t always_enumerated = 40320; // 8!

/// Fisher-Yates of positions [begin, end).
template <typename Values, typename Below>
void shuffle(Values& values, std::size_t begin, std::size_t end, Below& below) {
  for (std::size_t i = end - 1; i > begin; --i) std::swap(values[i], values[i - static_cast<std::size_t>(below(i - begin + 1))]);
}

} // namespace

ConceptPermutations::ConceptPermutations(Index concepts, const std::vector<Index>& groups, std::uint64_t seed, GroupMoves moves)
    : concepts_(concepts), seed_(seed), moves_(moves) {
  require(groups.empty() || static_cast<Index>(groups.size()) == concepts, ExitCode::internal, "{} concepts with {} groups", concepts,
          groups.size());
  std::map<Index, std::vector<Index>> members;
  for (Index c = 0; c < concepts; ++c) members[groups.empty() ? 0 : groups[static_cast<std::size_t>(c)]].push_back(c);
  for (auto& [name, list] : members) groups_.push_back(std::move(list));
  std::stable_sort(groups_.begin(), groups_.end(), [](const auto& a, const auto& b) { return a.size() < b.size(); });
}

template <typename Below>
std::vector<Index> ConceptPermutations::composed(Below below) const {
  std::vector<std::size_t> from(groups_.size());
  std::iota(from.begin(), from.end(), std::size_t{0});
  for (std::size_t begin = 0; begin < groups_.size() && moves_ == GroupMoves::swapped;) { // groups of equal size
    std::size_t end = begin + 1;
    while (end < groups_.size() && groups_[end].size() == groups_[begin].size()) ++end;
    shuffle(from, begin, end, below);
    begin = end;
  }
  std::vector<Index> order(static_cast<std::size_t>(concepts_));
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    auto members = groups_[from[g]];
    shuffle(members, 0, members.size(), below);
    for (std::size_t i = 0; i < members.size(); ++i) order[static_cast<std::size_t>(groups_[g][i])] = members[i];
  }
  return order;
}

PermutationCount ConceptPermutations::count(Index wanted) const {
  PermutationCount result;
  std::uint64_t all = 1;
  bool fits = true;
  // Each choice that makes a permutation is a factor.
  composed([&](std::size_t n) {
    result.log_all += std::log(static_cast<double>(n));
    fits = fits && all <= std::numeric_limits<std::uint64_t>::max() / n;
    if (fits) all *= n;
    return std::size_t{0};
  });
  result.all = fits ? all : 0;
  result.enumerated = wanted > 0 && fits && all <= std::max(static_cast<std::uint64_t>(wanted), always_enumerated);
  result.looked_at = result.enumerated ? static_cast<Index>(all) : std::max<Index>(0, wanted);
  result.smallest_p = 1.0 / static_cast<double>(result.enumerated ? result.looked_at : result.looked_at + 1);
  return result;
}

std::vector<Index> ConceptPermutations::drawn(Index number) const {
  const Philox random(seed_, groups_.size() > 1 ? "grouped concepts" : "concepts", static_cast<std::uint64_t>(number));
  std::uint64_t next = 0;
  return composed([&](std::size_t n) { return random.below(next++, n); });
}

std::vector<Index> ConceptPermutations::numbered(std::uint64_t number) const {
  return composed([&](std::size_t n) {
    const auto digit = number % n;
    number /= n;
    return digit;
  });
}

void ConceptPermutations::each(Index wanted, const std::function<void(const std::vector<Index>& order)>& look) const {
  const auto counted = count(wanted);
  for (Index k = 0; k < counted.looked_at; ++k) look(looked_at(counted, k));
}

std::vector<Index> ConceptPermutations::looked_at(const PermutationCount& count, Index k) const {
  return count.enumerated ? numbered(static_cast<std::uint64_t>(k)) : drawn(k);
}

void each_shared(const ConceptPermutations& permutations, Index wanted, const Sharing& sharing, Index per_look,
                 const std::function<void(const std::vector<Index>& order)>& look) {
  const auto counted = permutations.count(wanted);
  for (Index begin = 0; begin < counted.looked_at; begin += per_look * sharing.parts) {
    if (sharing.between) sharing.between();
    const Index end = std::min(counted.looked_at, begin + per_look * sharing.parts);
    for (Index k = begin + sharing.part; k < end; k += sharing.parts) look(permutations.looked_at(counted, k));
  }
}

double permutation_p(Index reached, const PermutationCount& count) {
  if (count.looked_at == 0) return std::numeric_limits<double>::quiet_NaN();
  return count.enumerated ? static_cast<double>(reached) / static_cast<double>(count.looked_at)
                          : static_cast<double>(reached + 1) / static_cast<double>(count.looked_at + 1);
}

} // namespace concord::agreement
