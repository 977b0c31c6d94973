#pragma once
/// What `correlate` takes in memory (docs/memory.md). Local.

#include "concord/core/machine/memory_plan.hpp"
#include "concord/correlate/correlate.hpp"

namespace concord::correlate {

/// What the bytes of `correlate` depend on: a pair of layers and the ranks that correlate it.
struct CorrelateSize {
  double rows = 0;
  double features_a = 0;
  double features_b = 0;
  double active_a = 0; ///< L0
  double active_b = 0;
  int ranks = 1;   ///< of a group, in one column
  int on_node = 1; ///< of them that share a node
  int threads = 1;
};
MemoryPlan correlate_memory(const CorrelateOptions& options, const CorrelateSize& size);

} // namespace concord::correlate
