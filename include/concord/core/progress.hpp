#pragma once
/// Progress of a stage with rate and time left: a redrawn line on a terminal, a plain line at an interval in a log. Local
/// (speaker only).

#include "concord/core/index.hpp"

#include <chrono>
#include <string>

namespace concord {

class Progress {
public:
  /// `total` units named `unit` ("tokens"); `done` of them were finished by an earlier run.
  Progress(std::string stage, Index total, std::string unit, Index done = 0);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// Says how many units are done; prints at most every interval. `extra` is shown as it is ("fvu=0.13").
  void update(Index done, const std::string& extra = "");
  double seconds() const;

private:
  void print(const std::string& extra, bool redraw);
  std::string stage_;
  std::string unit_;
  Index total_;
  Index start_;
  Index done_;
  std::chrono::steady_clock::time_point begin_;
  std::chrono::steady_clock::time_point last_;
  bool terminal_;
  bool drawn_ = false;
};

/// The last line of a stage: `concord STAGE: OK wall=12.3s DETAILS file=PATH`.
void say_stage_ok(const std::string& stage, double wall_seconds, const std::string& details, const std::string& file);
/// How many such lines this process came to, said or not.
Index stages_said();

} // namespace concord
