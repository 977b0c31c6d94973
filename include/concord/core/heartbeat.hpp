#pragma once
/// Signs of life of this process, for the watchdog (comm/watchdog.hpp). Local; callable from any thread.

#include "concord/core/index.hpp"

#include <atomic>
#include <string>

namespace concord {

struct Heartbeat {
  std::atomic<std::uint64_t> beats{0}; ///< any sign of progress: steps, items, calls of MPI
  std::atomic<int> outside{0};         ///< above 0 while this process waits for something that is none of the job's ranks
};
Heartbeat& heartbeat();

/// A sign of progress; costs a nanosecond.
inline void beat() {
  heartbeat().beats.fetch_add(1, std::memory_order_relaxed);
}

/// Notes what this process is doing: "train-sae a: 120/500 steps". Also a sign of progress.
void note_place(const std::string& stage, Index done, Index total, const std::string& unit);
/// What note_place() said last.
std::string noted_place();

/// While it lives this process waits for something outside (another program, another run's output): however long, that is no stall.
class WaitingOutside {
public:
  WaitingOutside() { heartbeat().outside.fetch_add(1); }
  ~WaitingOutside() {
    heartbeat().outside.fetch_sub(1);
    beat();
  }
  WaitingOutside(const WaitingOutside&) = delete;
  WaitingOutside& operator=(const WaitingOutside&) = delete;
};

} // namespace concord
