#include "concord/comm/stop.hpp"

#include <mpi.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>

namespace concord::comm {
namespace {

std::atomic<int> stop_signal{0};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may only touch lock-free atomics");
double limit_seconds = 0;
std::chrono::steady_clock::time_point start_time;

extern "C" void concord_on_stop_signal(int signal) {
  stop_signal.store(signal);
}

} // namespace

void install_stop_flag(double max_seconds) {
  limit_seconds = max_seconds;
  start_time = std::chrono::steady_clock::now();
  struct sigaction action {};
  action.sa_handler = concord_on_stop_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGUSR1, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool stop_requested(const Communicator& comm) {
  int stop = stop_signal.load() != 0 ? 1 : 0;
  const double elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_time).count();
  if (limit_seconds > 0 && elapsed > limit_seconds) stop = 1;
  MPI_Allreduce(MPI_IN_PLACE, &stop, 1, MPI_INT, MPI_MAX, comm);
  return stop != 0;
}

void throw_stopped(const char* stage) {
  throw Error(ExitCode::stopped,
              std::string(stage) + " stopped early on request; all finished work is saved, run the same command to go on",
              /*agreed=*/true);
}

} // namespace concord::comm
