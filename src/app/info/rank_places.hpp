#pragma once
// `concord info --ranks`: where each rank runs, and which ranks get into each other's way.

#include "concord/comm/session.hpp"

#include <functional>
#include <string>
#include <vector>

namespace concord::app {

/// Prints a line a rank in rank order, then the warnings: ranks that share cores for which they have too many threads, ranks whose cores
/// are of several NUMA nodes, ranks that would share a GPU, and GPUs far from their rank's cores. Collective over `comm`.
void print_ranks(const comm::Communicator& comm);

/// Gives rank 0 each rank's text in rank order, an empty one left out. Rank 0 holds one at a time: each rank waits until it is asked.
/// Collective over `comm`.
void one_after_the_other(const comm::Communicator& comm, const std::string& mine,
                         const std::function<void(const std::string& text)>& visit);

/// "0-3,8" of 0, 1, 2, 3, 8. Local.
std::string ranges_of(const std::vector<int>& ascending);

} // namespace concord::app
