#pragma once
/// `concord plan`: bytes, memory and time of each stage of a study before anything runs. Local.

#include "concord/study/study.hpp"

#include <filesystem>
#include <vector>

namespace concord::app {

struct PlanOptions {
  int ranks = 1;
  double tokens = 0;             ///< in the place of those of the study; 0: of tokens.h5, else estimated
  int ranks_a_node = 0;          ///< 0: those of the machine; without one all ranks are on one node
  std::filesystem::path machine; ///< of `concord calibrate`; empty: cost::default_machine()
  std::vector<int> nodes;        ///< sizes to compare, instead of `ranks`
  double matched = 1;            ///< share of the latents that `compare` gets matched
  bool memory = false;           ///< also each array above 1 MiB with its formula
  bool json = false;             ///< all of it as JSON instead of a table
};

/// Prints a table of the stages, each with its time on the machine and what takes most of it; with `nodes` seconds, node-hours, efficiency
/// against the first size and limit of each stage at each size. Tokens are counted from tokens.h5, else estimated from corpus.max_tokens or
/// the size of the text (4 bytes a token). @throws Error config where more ranks a node are asked for than the machine has.
void print_plan(const study::Study& study, const PlanOptions& options);

} // namespace concord::app
