#pragma once
/// Cores that ranks may run on.

#include "concord/comm/session.hpp"

namespace concord::comm {

/// Cores in this process's affinity mask, which mpirun, srun and taskset set. Local.
int usable_cores();

/// Says so where a rank has more threads (OMP_NUM_THREADS) than usable cores: they take turns, and a run is as slow as its slowest rank.
/// Collective over `comm`.
void warn_of_crowded_cores(const Communicator& comm);

} // namespace concord::comm
