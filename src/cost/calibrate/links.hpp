#pragma once
// What messages, memory and files do a second. Collective over `comm`.

#include "concord/comm/session.hpp"
#include "concord/cost/machine.hpp"

#include <filesystem>
#include <functional>

namespace concord::cost {

/// Waits for all ranks as MPI's barrier does, but leaves its core to others.
void quiet_barrier(const comm::Communicator& comm);

double median(std::vector<double> values);

/// How much a measurement may take. A first run, which meets fresh memory, cold caches and new connections, is not counted, and one is in
/// any case. The same on every rank, as the number of runs is.
struct Effort {
  int repeats = 5;    ///< that are counted, at most; their median says how long one takes
  double seconds = 1; ///< of all runs, the first among them; one that was slower than it looked may end later
};

/// Seconds of `run` (of its thread, where the rank has one, so that other programs do not count) on the ranks for which `takes_part` is
/// true, side by side, while the others rest: the mean over those ranks; the same on every rank. The slowest rank's first run says how many
/// follow on each; one of half a second or more counts, and is the only one. What `run` throws is agreed.
double timed(const comm::Communicator& comm, bool takes_part, const Effort& effort, const std::function<void()>& run);

/// Seconds of a stage of an all-reduce of 8 bytes over the ranks of `comm`: a call costs so much x ceil(log2 ranks). At least two ranks.
double measured_latency(const comm::Communicator& comm, const Effort& effort);

/// Bytes a second that each rank gets while those of the first half of `comm` swap 4 MiB with those of the second, all at once. At least
/// two ranks; of an odd number the last rests.
double measured_bandwidth(const comm::Communicator& comm, const Effort& effort);

/// Bytes a second through the memory of a node, all threads of all its ranks copying: the mean over nodes. `node`: the ranks of this rank's
/// node.
double measured_memory(const comm::Communicator& comm, const comm::Communicator& node, const Effort& effort);

/// Files of `bytes` bytes a rank below `folder`, written and synchronised, and read again from outside the page cache where the system lets
/// it go. One rank, the ranks of one node, all ranks: four or, on several nodes, six measurements, which share the effort's seconds.
struct FileSpeeds {
  FileRates reads, writes;
};
FileSpeeds measured_files(const comm::Communicator& comm, const comm::Communicator& node, const std::filesystem::path& folder, double bytes,
                          const Effort& effort);

} // namespace concord::cost
