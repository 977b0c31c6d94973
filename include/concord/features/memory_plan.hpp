#pragma once
/// What `encode` takes in memory (docs/memory.md). Local.

#include "concord/core/machine/memory_plan.hpp"
#include "concord/features/encode.hpp"

namespace concord::features {

/// What the bytes of `encode` depend on; one layer is encoded at a time.
struct EncodeSize {
  double rows = 0;
  double blocks = 0; ///< of the extraction
  double latents = 0;
  double d = 0;
  double value = 2;  ///< bytes of a stored value
  double active = 0; ///< L0
  int ranks = 1;
  int layers = 1;  ///< whose SAEs a rank holds at once: 1, or with fused extraction those of its shard
  int threads = 1; ///< of a rank
};
MemoryPlan encode_memory(const EncodeOptions& options, const EncodeSize& size);

} // namespace concord::features
