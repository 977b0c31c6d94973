#include "app/info/rank_places.hpp"

#include "concord/comm/collectives.hpp"
#include "concord/comm/gpu/gpu.hpp"
#include "concord/comm/node/cores.hpp"
#include "concord/core/log.hpp"
#include "concord/core/machine/threads.hpp"
#include "concord/core/text.hpp"

#include <boost/mpi/collectives.hpp>
#include <boost/serialization/string.hpp>
#include <boost/serialization/vector.hpp>
#include <mpi.h>

#include <algorithm>

namespace concord::app {
namespace {

/// What the ranks of a node tell each other.
struct Place {
  std::vector<int> cores;
  int threads = 0;
  std::string gpu_uuid;

  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& cores& threads& gpu_uuid;
  }
};

comm::Communicator ranks_of_node(const comm::Communicator& comm) {
  MPI_Comm node = MPI_COMM_NULL;
  MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, comm.rank(), MPI_INFO_NULL, &node);
  return {node, boost::mpi::comm_take_ownership};
}

std::string host() {
  return boost::mpi::environment::processor_name();
}

/// Said by the first of the node's ranks that may use these cores and no others.
std::string crowding(const std::vector<Place>& places, std::size_t mine) {
  const auto& cores = places[mine].cores;
  const auto within = [&](const Place& other) { return std::includes(cores.begin(), cores.end(), other.cores.begin(), other.cores.end()); };
  std::size_t ranks = 0;
  std::size_t threads = 0;
  for (std::size_t i = 0; i < places.size(); ++i) {
    if (i < mine && places[i].cores == cores) return "";
    if (!within(places[i])) continue;
    ++ranks;
    threads += static_cast<std::size_t>(places[i].threads);
  }
  if (cores.empty() || threads <= cores.size()) return "";
  return fmt::format("{}: {} threads of {} rank{} take turns on {} core{} ({}); fewer ranks on a node, more cores a rank (mpirun --map-by "
                     "slot:PE=N, srun --cpus-per-task=N), or a lower OMP_NUM_THREADS",
                     host(), threads, ranks, ranks == 1 ? "" : "s", cores.size(), cores.size() == 1 ? "" : "s", ranges_of(cores));
}

/// Said by the first of the node's ranks that would have this GPU.
std::string sharing(const std::vector<Place>& places, std::size_t mine, const comm::SeenGpu& gpu) {
  if (gpu.uuid.empty()) return "";
  std::size_t ranks = 0;
  for (std::size_t i = 0; i < places.size(); ++i) {
    if (places[i].gpu_uuid != gpu.uuid) continue;
    if (i < mine) return "";
    ++ranks;
  }
  if (ranks == 1) return "";
  return fmt::format("{}: {} ranks would share GPU {} ({}); start one rank a GPU (mpirun --map-by ppr:GPUS:node, srun --gpus-per-task=1)",
                     host(), ranks, gpu.number, gpu.name);
}

/// What is wrong with this rank's own place.
std::string distances(int rank, const std::vector<int>& nodes, const comm::SeenGpu& gpu) {
  if (nodes.size() > 1)
    return fmt::format(
        "rank {} on {} may run on {} NUMA nodes ({}) and then reads memory of the other; bind it (mpirun --bind-to numa, srun "
        "--cpu-bind=cores)",
        rank, host(), nodes.size(), ranges_of(nodes));
  if (gpu.numa_node >= 0 && nodes.size() == 1 && nodes.front() != gpu.numa_node)
    return fmt::format("rank {} on {} runs on NUMA node {}, its GPU {} hangs on {}; bind it near the GPU (srun --gpu-bind=closest)", rank,
                       host(), nodes.front(), gpu.number, gpu.numa_node);
  return "";
}

} // namespace

std::string ranges_of(const std::vector<int>& ascending) {
  std::string text;
  for (std::size_t begin = 0; begin < ascending.size();) {
    std::size_t end = begin + 1;
    while (end < ascending.size() && ascending[end] == ascending[end - 1] + 1) ++end;
    text += fmt::format("{}{}", text.empty() ? "" : ",", ascending[begin]);
    if (end - begin > 1) text += fmt::format("-{}", ascending[end - 1]);
    begin = end;
  }
  return text;
}

void one_after_the_other(const comm::Communicator& comm, const std::string& mine,
                         const std::function<void(const std::string& text)>& visit) {
  constexpr int tag = 18;
  if (comm.rank() != 0) {
    comm.recv(0, tag);
    comm.send(0, tag, mine);
    return;
  }
  if (!mine.empty()) visit(mine);
  std::string text;
  for (int rank = 1; rank < comm.size(); ++rank) {
    comm.send(rank, tag);
    comm.recv(rank, tag, text);
    if (!text.empty()) visit(text);
  }
}

void print_ranks(const comm::Communicator& comm) {
  const auto node = ranks_of_node(comm);
  const auto cores = comm::usable_core_numbers();
  const auto nodes = comm::numa_nodes_of(cores);
  const auto gpu = comm::gpu_in_turn(node.rank());
  std::vector<Place> places;
  boost::mpi::all_gather(node, Place{cores, thread_count(), gpu.uuid}, places);

  say("{:>6} {:<20} {:>9}  {:<16} {:<6} {:>7}  {}", "rank", "host", "node rank", "cores", "NUMA", "threads", "GPU");
  const std::string gpu_text = gpu.number < 0 ? "none" : fmt::format("{} of {}, {}", gpu.number, gpu.seen, gpu.name);
  const std::string core_text = cores.empty() ? "?" : fmt::format("{} ({})", ranges_of(cores), cores.size());
  one_after_the_other(comm,
                      fmt::format("{:>6} {:<20} {:>9}  {:<16} {:<6} {:>7}  {}", comm.rank(), host(), node.rank(), core_text,
                                  nodes.empty() ? "?" : ranges_of(nodes), thread_count(), gpu_text),
                      [](const std::string& line) { say("{}", line); });
  const auto mine = static_cast<std::size_t>(node.rank());
  std::size_t warnings = 0;
  const auto warn = [&warnings](const std::string& text) {
    ++warnings;
    say("warning: {}", text);
  };
  one_after_the_other(comm, crowding(places, mine), warn);
  one_after_the_other(comm, sharing(places, mine, gpu), warn);
  one_after_the_other(comm, distances(comm.rank(), nodes, gpu), warn);
  if (comm.rank() == 0 && warnings == 0) say("no rank is in another's way");
}

} // namespace concord::app
