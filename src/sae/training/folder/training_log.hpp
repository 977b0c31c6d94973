#pragma once
/// What a training says of itself at steps of equal distance: one JSON object a line, in training.jsonl. Local: one rank writes.

#include "concord/core/index.hpp"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>

namespace concord::sae {

class TrainingLog {
public:
  /// Some 500 lines for a run of `steps` steps.
  TrainingLog(std::filesystem::path path, Index steps);
  /// Whether a line is due behind step `step` (1, 2, ...).
  bool due(Index step) const { return step % every_ == 0 || step == steps_; }
  /// Goes on behind `step`: lines of later steps, which were trained and lost, are dropped. @throws Error io.
  void go_on_behind(Index step);
  /// @throws Error io.
  void write(const nlohmann::json& line);

private:
  std::filesystem::path path_;
  Index steps_;
  Index every_;
  std::ofstream file_;
};

} // namespace concord::sae
