#include "concord/comm/stop.hpp"

#include "concord/comm/failing_together.hpp"
#include "concord/comm/watch/watchdog.hpp"
#include "concord/core/run/heartbeat.hpp"

#include <mpi.h>

#include "comm/signal_stack.hpp"
#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <deque>
#include <limits>
#include <thread>

namespace concord::comm {
namespace {

std::atomic<int> stop_signal{0};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may only touch lock-free atomics");
double limit_seconds = 0;
std::chrono::steady_clock::time_point start_time;
std::atomic<bool> stop_of_others{false}; ///< a rank of another group was asked to stop

bool asked_here() {
  const double elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_time).count();
  return stop_signal.load() != 0 || (limit_seconds > 0 && elapsed > limit_seconds);
}

extern "C" void concord_on_stop_signal(int signal) {
  stop_signal.store(signal);
}

} // namespace

void catch_stop_signals() {
  take_signal_stack();
  struct sigaction action {};
  action.sa_handler = concord_on_stop_signal;
  // GEMM kernels of oneDNN before 3.12 keep a heap address in the stack pointer (its issue 4845): a handler on the ordinary stack writes
  // over the heap, and so over weights and results. The kernel gives a process's signals to its first thread, which has a stack for them.
  action.sa_flags = SA_RESTART | SA_ONSTACK;
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
  stop_of_others.store(false);
  limit_time(max_seconds);
  catch_stop_signals();
}

/// A rank that is asked to stop tells rank 0, which tells all others: empty messages, at most one from each to rank 0 and one back.
struct StopAcross::Notices {
  explicit Notices(const Communicator& of) : comm(of) {}

  static inline Notices* now = nullptr;                      ///< the one that lives
  static constexpr int to_root = 30'101, from_root = 30'102; ///< tags that nothing else uses

  /// Hands on what is known. From the main thread.
  void look() {
    if (spread) return;
    const bool asked = asked_here();
    if (comm.rank() != 0) {
      if (take(0, from_root)) heard = 1;
      if (heard > 0)
        hear();
      else if (asked && sent == 0)
        sent = send(0, to_root);
      return;
    }
    while (take(MPI_ANY_SOURCE, to_root)) ++heard;
    if (!asked && heard == 0) return;
    for (int rank = 1; rank < comm.size(); ++rank) sent = send(rank, from_root);
    hear();
  }

  void look_now_and_then() {
    constexpr std::chrono::milliseconds apart(20);
    if (spread || std::this_thread::get_id() != thread) return;
    const auto time = std::chrono::steady_clock::now();
    if (time - looked < apart) return;
    looked = time;
    look();
  }

  void meet() {
    MPI_Request barrier = MPI_REQUEST_NULL;
    MPI_Ibarrier(comm, &barrier);
    {
      const WaitingInMpi waiting; // to the watchdog this is one call
      for (int done = 0; done == 0; MPI_Test(&barrier, &done, MPI_STATUS_IGNORE)) {
        look();
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    }
    int of_root = comm.rank() == 0 ? sent : 0; // whether it has told the others
    int of_others = comm.rank() == 0 ? 0 : sent;
    int counts[2] = {of_root, of_others};
    MPI_Allreduce(MPI_IN_PLACE, counts, 2, MPI_INT, MPI_SUM, comm);
    const int coming = comm.rank() == 0 ? counts[1] : counts[0];
    for (; heard < coming; ++heard)
      MPI_Recv(nullptr, 0, MPI_BYTE, MPI_ANY_SOURCE, comm.rank() == 0 ? to_root : from_root, comm, MPI_STATUS_IGNORE);
    MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE);
    requests.clear();
    if (counts[0] + counts[1] > 0) hear();
  }

  const Communicator& comm;
  std::thread::id thread = std::this_thread::get_id();
  std::chrono::steady_clock::time_point looked;
  int heard = 0;       ///< notices received
  int sent = 0;        ///< 1: this rank has told
  bool spread = false; ///< this rank knows; nothing more is to be sent

private:
  void hear() {
    stop_of_others.store(true);
    spread = true;
  }
  bool take(int from, int tag) {
    int there = 0;
    MPI_Status status;
    MPI_Iprobe(from, tag, comm, &there, &status);
    if (there != 0) MPI_Recv(nullptr, 0, MPI_BYTE, status.MPI_SOURCE, tag, comm, MPI_STATUS_IGNORE);
    return there != 0;
  }
  int send(int to, int tag) {
    requests.emplace_back();
    MPI_Isend(nullptr, 0, MPI_BYTE, to, tag, comm, &requests.back());
    return 1;
  }
  std::vector<MPI_Request> requests;
};

StopAcross::StopAcross(const Communicator& comm) : notices_(std::make_unique<Notices>(comm)) {
  Notices::now = notices_.get();
}

StopAcross::~StopAcross() {
  Notices::now = nullptr;
}

void StopAcross::meet() {
  notices_->meet();
}

bool stop_wanted_here() {
  beat(); // a loop that looks for the stop signal goes on
  if (StopAcross::Notices::now != nullptr) StopAcross::Notices::now->look_now_and_then();
  return stop_of_others.load() || asked_here();
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

bool StopVote::stop_before_step(bool wanted) {
  auto& votes = votes_->under_way;
  if (votes.size() >= votes_->lag) {
    MPI_Wait(&votes.front().request, MPI_STATUS_IGNORE);
    if (votes.front().stop != 0) return true;
    votes.pop_front();
  }
  votes.emplace_back();
  votes.back().stop = wanted ? 1 : 0;
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

namespace {

/// Tests stop short units within.
double most_grace() {
  const char* text = std::getenv("CONCORD_STOP_GRACE");
  return text == nullptr ? std::numeric_limits<double>::infinity() : std::max(0.0, std::atof(text));
}

/// From when the unit that this thread is in heeds a stop.
thread_local auto unit_heeded_from = std::chrono::steady_clock::time_point::max();

} // namespace

StopWithin::StopWithin(double grace)
    : heeded_from_(std::min(unit_heeded_from,
                            std::chrono::steady_clock::now() + std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                                                                   std::chrono::duration<double>(std::min(grace, most_grace()))))) {}

UnitOfWork::UnitOfWork(const StopWithin& unit) : outer_(unit_heeded_from) {
  unit_heeded_from = std::min(outer_, unit.heeded_from_);
}

UnitOfWork::~UnitOfWork() {
  unit_heeded_from = outer_;
}

bool StopWithin::wanted_here() const {
  return stop_wanted_here() && std::chrono::steady_clock::now() >= heeded_from_;
}

void StopWithin::throw_if_wanted(const Communicator& comm, const char* stage) const {
  int wanted = wanted_here() ? 1 : 0;
  MPI_Allreduce(MPI_IN_PLACE, &wanted, 1, MPI_INT, MPI_MAX, comm);
  if (wanted != 0) throw_stopped(stage);
}

void throw_stopped(const char* stage) {
  note_failing_together(true);
  throw Error(ExitCode::stopped,
              std::string(stage) + " stopped early on request; all finished work is saved, run the same command to go on",
              /*agreed=*/true);
}

void stop_if_requested(const Communicator& comm, const char* stage) {
  if (stop_requested(comm)) throw_stopped(stage);
}

} // namespace concord::comm
