#pragma once
/// Permutations of concepts that keep groups: groups of equal size change places as a whole, and members change places inside. Local.
///
/// Concepts that are kin are not exchangeable with the rest; under these permutations every concept keeps its kin.

#include "concord/core/index.hpp"

#include <functional>
#include <vector>

namespace concord::agreement {

/// How many permutations there are, and how many a test looks at.
struct PermutationCount {
  double log_all = 0;      ///< natural logarithm of their number
  std::uint64_t all = 0;   ///< their number; 0: more than 64 bits hold
  Index looked_at = 0;     ///< K drawn ones, or all of them, identity included
  bool enumerated = false; ///< all
  double smallest_p = 1;   ///< 1 / (K + 1), or 1 / all
};

/// Whether groups of equal size change places, or only members inside their group.
enum class GroupMoves { swapped, inside };

class ConceptPermutations {
public:
  /// `groups`: the group of each concept, any numbers; empty: all permutations of concepts. Groups whose size no other has keep their
  /// place, and their members change places inside.
  ConceptPermutations(Index concepts, const std::vector<Index>& groups, std::uint64_t seed, GroupMoves moves = GroupMoves::swapped);

  /// All of them where there are no more than max(wanted, 8!), else `wanted` random ones.
  PermutationCount count(Index wanted) const;
  /// A uniform draw: what is at i moves away for what was at order[i].
  std::vector<Index> drawn(Index number) const;
  /// The same of all, by number below count().all; 0 is the identity.
  std::vector<Index> numbered(std::uint64_t number) const;
  /// Number k of those that a test looks at, below count(wanted).looked_at; the identity is among them where all are enumerated.
  std::vector<Index> looked_at(const PermutationCount& count, Index k) const;
  /// Calls `look` with each of them.
  void each(Index wanted, const std::function<void(const std::vector<Index>& order)>& look) const;

private:
  /// `below(n)` gives a number in [0, n), once for each choice that makes up the permutation.
  template <typename Below>
  std::vector<Index> composed(Below below) const;
  Index concepts_;
  std::uint64_t seed_;
  GroupMoves moves_;
  std::vector<std::vector<Index>> groups_; ///< members, by ascending size
};

/// Of a one-sided permutation test: (reached + 1) / (K + 1), or reached / all where all were enumerated.
double permutation_p(Index reached, const PermutationCount& count);

/// Parts that share one test: each takes permutations of its own, and counts are summed, so p does not depend on the number of parts.
struct Sharing {
  Index part = 0;
  Index parts = 1;
  std::function<void(std::vector<Index>& counts)> add_up = {}; ///< over the parts; not called where there is one
  std::function<void()> between = {};                          ///< called by each part as often, seconds apart; may throw to stop
};
/// This part's permutations, with looks between them: `per_look` each time. Collective over the parts.
void each_shared(const ConceptPermutations& permutations, Index wanted, const Sharing& sharing, Index per_look,
                 const std::function<void(const std::vector<Index>& order)>& look);

} // namespace concord::agreement
