#pragma once
/// How the watchdogs of several nodes tell each other what they see: files in a folder that is there only while one of them suspects a
/// stall. Called by the one watchdog that speaks for its node.

#include "comm/watch/watchdog_states.hpp"
#include <chrono>
#include <filesystem>
#include <map>

namespace concord::comm {

class Meeting {
public:
  explicit Meeting(std::string name) : name_(std::move(name)) {}

  std::map<Index, std::vector<Index>> nodes; ///< ranks of each node, by the first of them

  /// Tells the others what this node's ranks do, where it or another node suspects something, and hears them: `all` are then the states of
  /// every rank; those of a node that says nothing for half the time allowed are missing. False while there is nothing to judge.
  bool hear(const std::filesystem::path& folder, const std::vector<RankState>& here, double seconds, std::vector<RankState>& all);

  /// Whether no other node tells the user.
  bool first_to_tell() const;

  /// Removes the folder. Local.
  void leave() const;

private:
  using Clock = std::chrono::steady_clock;
  struct Heard {
    std::string text;
    Clock::time_point when;
  };
  std::string name_;
  std::filesystem::path folder_; ///< "" until one was there
  std::map<Index, Heard> heard_; ///< by first rank
  Index told_ = 0;
};

} // namespace concord::comm
