#pragma once
/// An array of which each node of a job holds one copy, in memory that its ranks share. Collective over `comm` where it does not say Local.

#include "concord/comm/session.hpp"
#include "concord/core/index.hpp"

#include <memory>
#include <span>
#include <vector>

namespace concord::comm {

class NodeArray {
public:
  /// When the memory of a shared copy is taken: at once, so that there is surely enough, or page by page as it is written, so that each
  /// rank clears the pages that it writes.
  enum class Taking { at_once, as_written };
  /// `count` zeros a node, however ranks are placed. `nodes`: the node that each rank is taken to be on, of ranks that share memory (empty:
  /// all of these are one). Where memory cannot be shared, every rank has a copy of its own. @throws Error unavailable where there is no
  /// memory; agreed.
  NodeArray(const Communicator& comm, Index count, const std::vector<int>& nodes = {}, Taking taking = Taking::at_once);
  ~NodeArray();
  NodeArray(const NodeArray&) = delete;
  NodeArray& operator=(const NodeArray&) = delete;
  /// The node's copy: ranks may read all of it and write parts that no other rank touches; share() makes them known. Local.
  std::span<float> values();
  /// The ranks of this rank's copy. Local.
  const Communicator& copy() const;
  /// Ranks that share this rank's copy, and this rank's number among them. Local.
  int ranks_a_copy() const;
  int rank_in_copy() const;
  /// The copy of each rank of `comm`, by the first rank that has it. Local.
  const std::vector<int>& copies() const;
  /// Behind it the ranks of a copy see what all of them wrote before. Collective over the ranks of a copy.
  void sync();
  /// Rows of `width` numbers from `begin` on, `counts` of each rank in rank order, which each has written: behind it all copies hold them
  /// all. Returns the bytes that this rank received from other copies.
  double share(Index begin, const std::vector<Index>& counts, Index width);

private:
  struct Storage;
  const Communicator& comm_;
  std::unique_ptr<Storage> storage_;
};

} // namespace concord::comm
