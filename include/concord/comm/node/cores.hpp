#pragma once
/// Cores that ranks may run on.

#include "concord/comm/session.hpp"

#include <vector>

namespace concord::comm {

/// Cores in this process's affinity mask, which mpirun, srun and taskset set. Local.
int usable_cores();

/// Their numbers, ascending; empty where the system does not say. Local.
std::vector<int> usable_core_numbers();

/// The NUMA nodes that cores are on, ascending; empty where the system does not say. Local.
std::vector<int> numa_nodes_of(const std::vector<int>& cores);

/// Says so where a rank has more threads (OMP_NUM_THREADS) than usable cores: they take turns, and a run is as slow as its slowest rank.
/// Collective over `comm`.
void warn_of_crowded_cores(const Communicator& comm);

} // namespace concord::comm
