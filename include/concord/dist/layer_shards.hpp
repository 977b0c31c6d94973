#pragma once
/// Which rank runs which layers of which contexts: replicas x layer shards. Arithmetic alone, no data. Local.

#include "concord/core/index.hpp"

#include <vector>

namespace concord::dist {

/// Cuts items of the given costs into `parts` runs so that the dearest run is as cheap as can be; run p is the items
/// [cuts[p], cuts[p + 1]). No run is empty while there are as many items as parts.
std::vector<Index> balanced_cuts(const std::vector<double>& costs, int parts);

/// `ranks` ranks as replicas of a model in `shards` shards: the shards of a replica are neighbours, so that they share a node.
///
///   RankGrid{5, 2}:  rank 0 1 | 2 3 | 4 (idle)  ->  replica 0 0 1 1 -, shard 0 1 0 1 -
struct RankGrid {
  int ranks = 1;
  int shards = 1;
  int replicas() const { return ranks / shards; }
  int active() const { return replicas() * shards; }
  bool idle(int rank) const { return rank >= active(); }
  int replica(int rank) const { return rank / shards; }
  int shard(int rank) const { return rank % shards; }
};

} // namespace concord::dist
