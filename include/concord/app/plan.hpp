#pragma once
/// `concord plan`: bytes, flops and memory of each stage of a study before anything runs. Local.

#include "concord/study/study.hpp"

namespace concord::app {

/// Prints a table of the stages for `ranks` ranks. Tokens are counted from tokens.h5, else estimated from corpus.max_tokens
/// or the size of the text (4 bytes a token). `gflops`: what one rank computes a second, for the time estimate.
void print_plan(const study::Study& study, int ranks, double gflops);

} // namespace concord::app
