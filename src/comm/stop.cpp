#include "concord/comm/stop.hpp"

#include "concord/core/heartbeat.hpp"

#include <mpi.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <deque>

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

void catch_stop_signals() {
  struct sigaction action {};
  action.sa_handler = concord_on_stop_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGUSR1, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  action.sa_flags |= static_cast<int>(SA_RESETHAND); // a second one ends the program at once
  sigaction(SIGINT, &action, nullptr);
}

void limit_time(double max_seconds) {
  limit_seconds = max_seconds;
  start_time = std::chrono::steady_clock::now();
}

void install_stop_flag(double max_seconds) {
  stop_signal.store(0);
  limit_time(max_seconds);
  catch_stop_signals();
}

bool stop_wanted_here() {
  beat(); // a loop that looks for the stop signal goes on
  const double elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_time).count();
  return stop_signal.load() != 0 || (limit_seconds > 0 && elapsed > limit_seconds);
}

bool stop_requested(const Communicator& comm) {
  int stop = stop_wanted_here() ? 1 : 0;
  MPI_Allreduce(MPI_IN_PLACE, &stop, 1, MPI_INT, MPI_MAX, comm);
  return stop != 0;
}

struct StopVote::Votes {
  struct Vote {
    int stop = 0;
    MPI_Request request = MPI_REQUEST_NULL;
  };
  MPI_Comm comm = MPI_COMM_NULL; ///< of its own, so that votes meet no other collective
  std::size_t lag = 1;
  std::deque<Vote> under_way; ///< a deque keeps elements in place while others come and go at its ends
};

StopVote::StopVote(const Communicator& comm, int lag) : votes_(std::make_unique<Votes>()) {
  MPI_Comm_dup(comm, &votes_->comm);
  votes_->lag = static_cast<std::size_t>(lag);
}

StopVote::~StopVote() {
  // Reached with votes under way only while an error ends the job; they are then left to MPI_Abort.
  if (votes_->under_way.empty()) MPI_Comm_free(&votes_->comm);
}

bool StopVote::stop_before_step() {
  auto& votes = votes_->under_way;
  if (votes.size() >= votes_->lag) {
    MPI_Wait(&votes.front().request, MPI_STATUS_IGNORE);
    if (votes.front().stop != 0) return true;
    votes.pop_front();
  }
  votes.emplace_back();
  votes.back().stop = stop_wanted_here() ? 1 : 0;
  MPI_Iallreduce(MPI_IN_PLACE, &votes.back().stop, 1, MPI_INT, MPI_MAX, votes_->comm, &votes.back().request);
  return false;
}

void StopVote::end() {
  for (auto& vote : votes_->under_way) MPI_Wait(&vote.request, MPI_STATUS_IGNORE);
  votes_->under_way.clear();
}

void StopVote::progress() {
  int done = 0;
  for (auto& vote : votes_->under_way) MPI_Test(&vote.request, &done, MPI_STATUS_IGNORE);
}

StopWithin::StopWithin(double grace)
    : heeded_from_(std::chrono::steady_clock::now() +
                   std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(grace))) {}

bool StopWithin::wanted_here() const {
  return stop_wanted_here() && std::chrono::steady_clock::now() >= heeded_from_;
}

void StopWithin::throw_if_wanted(const Communicator& comm, const char* stage) const {
  int wanted = wanted_here() ? 1 : 0;
  MPI_Allreduce(MPI_IN_PLACE, &wanted, 1, MPI_INT, MPI_MAX, comm);
  if (wanted != 0) throw_stopped(stage);
}

void throw_stopped(const char* stage) {
  throw Error(ExitCode::stopped,
              std::string(stage) + " stopped early on request; all finished work is saved, run the same command to go on",
              /*agreed=*/true);
}

void stop_if_requested(const Communicator& comm, const char* stage) {
  if (stop_requested(comm)) throw_stopped(stage);
}

} // namespace concord::comm
