#pragma once
// Whether the results of a study are there, and were made of one another. Local.

#include "concord/app/stage.hpp"

#include <string>

namespace concord::app {

struct ResultState {
  enum class Is { done, unfinished, missing, stale };
  Is is = Is::missing;
  std::string why = {}; ///< of a stale one
};

/// @throws Error bad_data where the file is none of a stage's, io where it cannot be read.
ResultState state_of(const StageResult& result);

/// Every result that the study wants is there, and none was made from others than those that are there now.
/// @throws Error input_missing, bad_data, or config with the stage to run.
void check_results(const study::Study& study);

/// Prints a line for each result of the study.
void print_status(const study::Study& study);

} // namespace concord::app
