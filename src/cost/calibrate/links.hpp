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

/// Seconds of `run` (of its thread, where the rank has one, so that other programs do not count) on the ranks for which `takes_part` is
/// true, side by side, while the others rest: the median of `repeats`, the mean over those ranks; the same on every rank. What `run` throws
/// is agreed.
double timed(const comm::Communicator& comm, bool takes_part, int repeats, const std::function<void()>& run);

/// Seconds of a stage of an all-reduce of 8 bytes over the ranks of `comm`: a call costs so much x ceil(log2 ranks). At least two ranks.
double measured_latency(const comm::Communicator& comm, int repeats);

/// Bytes a second that each rank gets while those of the first half of `comm` swap 4 MiB with those of the second, all at once. At least
/// two ranks; of an odd number the last rests.
double measured_bandwidth(const comm::Communicator& comm, int repeats);

/// Bytes a second through the memory of a node, all threads of all its ranks copying: the mean over nodes. `node`: the ranks of this rank's
/// node.
double measured_memory(const comm::Communicator& comm, const comm::Communicator& node, int repeats);

/// Files of `bytes` bytes a rank below `folder`, written and synchronised, and read again from outside the page cache where the system lets
/// it go. One rank, the ranks of one node, all ranks.
struct FileSpeeds {
  FileRates reads, writes;
};
FileSpeeds measured_files(const comm::Communicator& comm, const comm::Communicator& node, const std::filesystem::path& folder, double bytes,
                          int repeats);

} // namespace concord::cost
