#pragma once
/// `concord plan`: bytes, flops and memory of each stage of a study before anything runs. Local.

#include "concord/study/study.hpp"

namespace concord::app {

struct PlanOptions {
  int ranks = 1;
  double tokens = 0;    ///< in the place of those of the study; 0: of tokens.h5, else estimated
  int ranks_a_node = 0; ///< 0: all ranks are on one node
  double gflops = 50;   ///< what one rank computes a second, for the time estimate
  double write_gbs = 1; ///< 10^9 bytes that the file system takes a second from all ranks together
  bool memory = false;  ///< also each array above 1 MiB with its formula
  bool json = false;    ///< all of it as JSON instead of a table
};

/// Prints a table of the stages, each with the slower of its arithmetic and its writing, which overlap. Tokens are counted from tokens.h5,
/// else estimated from corpus.max_tokens or the size of the text (4 bytes a token).
void print_plan(const study::Study& study, const PlanOptions& options);

} // namespace concord::app
