#pragma once
/// What `compare` takes in memory (docs/memory.md). Local.

#include "concord/core/machine/memory_plan.hpp"
#include "concord/similarity/compare_spaces.hpp"

namespace concord::similarity {

/// What the bytes of `compare` depend on: a pair of layers and the ranks that compare it.
struct CompareSize {
  double matches = 0; ///< M
  double features_a = 0;
  double features_b = 0;
  double d_a = 0;
  double d_b = 0;
  int ranks = 1; ///< of a group
  int threads = 1;
};
MemoryPlan compare_memory(const SpaceOptions& options, const CompareSize& size);

} // namespace concord::similarity
