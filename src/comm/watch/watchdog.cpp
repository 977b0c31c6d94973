#include "concord/comm/watch/watchdog.hpp"

#include "concord/comm/decided.hpp"
#include "concord/comm/node/node_array.hpp"
#include "concord/core/run/heartbeat.hpp"
#include "concord/core/text.hpp"

#include "comm/watch/leave_launcher.hpp"
#include "comm/watch/watchdog_meeting.hpp"
#include "comm/watch/watchdog_states.hpp"
#include <condition_variable>
#include <csignal>
#include <ctime>
#include <mutex>
#include <thread>
#include <unistd.h>

namespace concord::comm {
namespace {

Index clock_ns(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return Index{1'000'000'000} * now.tv_sec + now.tv_nsec;
}

std::mutex folder_lock;
std::filesystem::path meeting_folder;

constexpr Index bytes_a_slot = (sizeof(RankSlot) + 63) / 64 * 64;
constexpr Index bytes_of_board = 64;

/// Ends stopped processes a little later, when the job's launcher had its time to do so. In a process of its own, since this one ends now.
void end_later(const std::vector<RankState>& states) {
  std::vector<pid_t> stopped;
  for (const auto& state : states)
    if (!state.runs && state.pid > 0) stopped.push_back(static_cast<pid_t>(state.pid));
  if (stopped.empty() || ::fork() != 0) return;
  leave_launcher();
  constexpr unsigned patience = 5;
  ::sleep(patience);
  for (const pid_t pid : stopped) ::kill(pid, SIGKILL);
  ::_exit(0);
}

} // namespace

struct Watchdog::Watch {
  Watch(const Communicator& comm, double seconds)
      : allowed(static_cast<Index>(seconds * 1e9)), seconds_allowed(seconds), shared(comm, floats(comm.size())),
        slot(new (slot_bytes(shared.rank_in_copy())) RankSlot), board(reinterpret_cast<NodeBoard*>(shared.values().data())),
        meeting(decided(comm, [] { return unique_name("stall"); })) {
    slot->rank = comm.rank();
    slot->pid = ::getpid();
    pthread_getcpuclockid(pthread_self(), &main_clock);
    look();
    for (std::size_t rank = 0; rank < shared.copies().size(); ++rank)
      meeting.nodes[shared.copies()[rank]].push_back(static_cast<Index>(rank));
    shared.sync(); // every slot is filled in
    start();
  }

  ~Watch() {
    {
      const std::lock_guard guard(lock);
      ended = true;
    }
    changed.notify_all();
    thread.join();
    meeting.leave();
  }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  static Index floats(int slots) { return (bytes_of_board + slots * bytes_a_slot) / static_cast<Index>(sizeof(float)); }
  char* slot_bytes(int number) { return reinterpret_cast<char*>(shared.values().data()) + bytes_of_board + number * bytes_a_slot; }
  const RankSlot& slot_of(int number) { return *reinterpret_cast<const RankSlot*>(slot_bytes(number)); }

  void start() {
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); // signals go to the thread that works
    thread = std::thread([this] { run(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  void run() {
    const auto period = std::chrono::nanoseconds(std::clamp<Index>(allowed / 16, 100'000'000, 15'000'000'000));
    std::unique_lock guard(lock);
    while (!changed.wait_for(guard, period, [&] { return ended; })) {
      look();
      judge();
    }
  }

  /// Writes down this rank's state.
  void look() {
    const Index now = clock_ns(CLOCK_MONOTONIC);
    const auto beats = heartbeat().beats.load();
    const Index used = clock_ns(main_clock);
    if (beats != last_beats || slot->beat == 0) slot->beat = now;
    if (used - last_used > (now - slot->seen) / 50 || slot->busy == 0) slot->busy = now;
    last_beats = beats;
    last_used = used;
    slot->call = mpi_call_now();
    slot->outside = heartbeat().outside.load();
    slot->set_place(noted_place());
    slot->seen = now;
  }

  std::vector<RankState> states_here(Index now) {
    std::vector<RankState> states;
    for (int r = 0; r < shared.ranks_a_copy(); ++r) states.push_back(state_of(slot_of(r), now, allowed));
    return states;
  }

  /// The first rank of the node whose thread runs speaks for the node.
  bool speaks(Index now) {
    for (int r = 0; r < shared.rank_in_copy(); ++r)
      if (now - slot_of(r).seen <= allowed) return false;
    return true;
  }

  void judge() {
    const Index now = clock_ns(CLOCK_MONOTONIC);
    if (board->ended != 0 && now - board->ended > Index{2'000'000'000}) ::_exit(static_cast<int>(ExitCode::stalled));
    if (!speaks(now)) return;
    const auto here = states_here(now);
    std::vector<RankState> all = here;
    if (meeting.nodes.size() > 1) {
      const std::lock_guard guard(folder_lock);
      if (meeting_folder.empty() || !meeting.hear(meeting_folder, here, seconds_allowed, all)) return;
    }
    if (!is_stalled(all)) {
      looks_at_stall = 0;
      return;
    }
    // Rank 0's node speaks first: the launcher is mostly there, and nobody hears a node whose network is gone.
    constexpr int looks_of_others = 3;
    if (here.front().rank != 0 && ++looks_at_stall < looks_of_others) return;
    if (board->ended.exchange(now) == 0 && meeting.first_to_tell()) {
      const auto text = told(all, seconds_allowed);
      static_cast<void>(::write(STDERR_FILENO, text.data(), text.size()));
    }
    end_later(here);
    ::_exit(static_cast<int>(ExitCode::stalled));
  }

  Index allowed;
  double seconds_allowed;
  NodeArray shared;
  RankSlot* slot;
  NodeBoard* board;
  Meeting meeting;
  clockid_t main_clock{};
  std::uint64_t last_beats = 0;
  Index last_used = 0;
  int looks_at_stall = 0; ///< that found one, in turn
  std::mutex lock;
  std::condition_variable changed;
  bool ended = false;
  std::thread thread;
};

Watchdog::Watchdog(const Communicator& comm, double seconds) {
  if (seconds > 0) watch_ = std::make_unique<Watch>(comm, seconds);
}

Watchdog::~Watchdog() = default;

void let_watchdogs_meet_in(const std::filesystem::path& folder) {
  const std::lock_guard guard(folder_lock);
  if (meeting_folder.empty()) meeting_folder = folder.empty() ? "." : folder;
}

} // namespace concord::comm
