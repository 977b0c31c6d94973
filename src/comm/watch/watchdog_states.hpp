#pragma once
/// What the watchdogs know of ranks, and what follows from it. Local.

#include "concord/core/index.hpp"

#include <array>
#include <atomic>
#include <string>
#include <vector>

namespace concord::comm {

/// A rank's state in its node's shared memory, written by its watchdog thread alone. Times are ns of the node's monotonic clock.
struct RankSlot {
  std::atomic<Index> rank{0};
  std::atomic<Index> pid{0};
  std::atomic<Index> seen{0};    ///< when its thread last ran
  std::atomic<Index> beat{0};    ///< when it last made progress
  std::atomic<Index> busy{0};    ///< when it last used its processor
  std::atomic<Index> call{0};    ///< of MPI, 0 outside
  std::atomic<Index> outside{0}; ///< waits for something that is no rank
  std::array<std::atomic<char>, 128> place{};

  void set_place(const std::string& text);
  std::string get_place() const;
};

/// The end of a node: another watchdog has found a stall.
struct NodeBoard {
  std::atomic<Index> ended{0};
};

struct RankState {
  enum class Kind { works, waits, missing };
  Index rank = 0;
  Index pid = 0;
  Kind kind = Kind::works;
  bool runs = true; ///< false: its process is stopped
  std::string text; ///< where it is
};

RankState state_of(const RankSlot& slot, Index now, Index allowed);

/// Whether the job is to end: ranks wait for missing ones, or all wait.
bool is_stalled(const std::vector<RankState>& all);

/// What the user reads: missing ranks one a line, the others by where they are.
std::string told(const std::vector<RankState>& all, double seconds);

} // namespace concord::comm
