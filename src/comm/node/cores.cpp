#include "concord/comm/node/cores.hpp"

#include "concord/comm/collectives.hpp"
#include "concord/core/log.hpp"
#include "concord/core/machine/threads.hpp"

#include <algorithm>
#include <sched.h>
#include <thread>
#include <vector>

namespace concord::comm {

int usable_cores() {
  for (std::size_t most = 1024; most <= (std::size_t{1} << 20); most *= 2) { // a mask that is too short for the machine is refused
    std::vector<cpu_set_t> mask((most + CPU_SETSIZE - 1) / CPU_SETSIZE);
    const std::size_t bytes = mask.size() * sizeof(cpu_set_t);
    if (::sched_getaffinity(0, bytes, mask.data()) == 0) return CPU_COUNT_S(bytes, mask.data());
  }
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
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
