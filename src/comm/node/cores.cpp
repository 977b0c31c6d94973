#include "concord/comm/node/cores.hpp"

#include "concord/comm/collectives.hpp"
#include "concord/core/log.hpp"
#include "concord/core/machine/threads.hpp"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <sched.h>
#include <set>
#include <thread>
#include <vector>

namespace concord::comm {

std::vector<int> usable_core_numbers() {
  for (std::size_t most = 1024; most <= (std::size_t{1} << 20); most *= 2) { // a mask that is too short for the machine is refused
    std::vector<cpu_set_t> mask((most + CPU_SETSIZE - 1) / CPU_SETSIZE);
    const std::size_t bytes = mask.size() * sizeof(cpu_set_t);
    if (::sched_getaffinity(0, bytes, mask.data()) != 0) continue;
    std::vector<int> cores;
    for (std::size_t core = 0; core < 8 * bytes; ++core)
      if (CPU_ISSET_S(core, bytes, mask.data())) cores.push_back(static_cast<int>(core));
    return cores;
  }
  return {};
}

int usable_cores() {
  const auto cores = usable_core_numbers().size();
  return cores > 0 ? static_cast<int>(cores) : static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

std::vector<int> numa_nodes_of(const std::vector<int>& cores) {
  std::set<int> nodes;
  for (const int core : cores) {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(fmt::format("/sys/devices/system/cpu/cpu{}", core), error)) {
      const auto name = entry.path().filename().string();
      int node = 0;
      const char* end = name.data() + name.size();
      if (name.starts_with("node") && std::from_chars(name.data() + 4, end, node).ptr == end && name.size() > 4) nodes.insert(node);
    }
  }
  return {nodes.begin(), nodes.end()};
}

void warn_of_crowded_cores(const Communicator& comm) {
  const int cores = usable_cores();
  const int threads = thread_count();
  std::string mine;
  if (threads > cores)
    mine = fmt::format("rank {} on {} has {} threads (OMP_NUM_THREADS) for {} core{}", comm.rank(),
                       boost::mpi::environment::processor_name(), threads, cores, cores == 1 ? "" : "s");
  std::string first;
  int crowded = 0;
  gather_each(comm, mine, [&](int, std::vector<char>& said) {
    if (said.empty()) return;
    if (crowded++ == 0) first.assign(said.begin(), said.end());
  });
  if (crowded == 0) return;
  const std::string others = crowded > 1 ? fmt::format(" (and {} more like it)", crowded - 1) : "";
  log_warn("{}{}: they take turns; give each rank as many cores (mpirun --map-by slot:PE=N or --bind-to none, srun --cpus-per-task=N), or "
           "lower OMP_NUM_THREADS",
           first, others);
}

} // namespace concord::comm
