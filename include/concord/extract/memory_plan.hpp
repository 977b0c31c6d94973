#pragma once
/// What an extraction takes on each rank, by arithmetic alone: shown by `concord plan`, and checked before a run. Local.

#include "concord/core/machine/memory_plan.hpp"
#include "concord/extract/options.hpp"
#include "concord/model/config.hpp"

#include <string>
#include <vector>

namespace concord::extract {

/// Bytes of one rank.
struct RankMemory {
  double base = 0;     ///< program and libraries
  double weights = 0;  ///< of its layers
  double working = 0;  ///< of the forward pass
  double buffers = 0;  ///< rows on their way to the disk and to the next shard
  bool on_gpu = false; ///< weights and forward pass lie there
  /// On the host.
  double total() const { return base + buffers + (on_gpu ? 0 : weights + working); }
  double on_device() const { return on_gpu ? weights + working : 0; }
};

/// The same array by array: what lies on the host.
MemoryPlan memory_plan(RankMemory memory, const std::string& stage);

/// Blocks of a layer that may wait for the disk; beyond them the forward pass waits.
inline constexpr Index blocks_waiting = 3;

/// The blocks of a model that an extraction runs, cut into shards: shard s has blocks [cuts[s], cuts[s + 1]).
std::vector<Index> shard_cuts(const model::ModelConfig& config, const ExtractOptions& options, Index longest);
/// The wanted layers, sorted; all when the options name none. @throws Error config.
std::vector<int> wanted_layers(const ExtractOptions& options, const model::ModelConfig& config);
/// Memory of the ranks that hold shard `shard`, for blocks of at most `rows` rows in contexts of at most `longest`. `on_gpu`: weights and
/// forward pass lie on the rank's GPU.
RankMemory rank_memory(const model::ModelConfig& config, const ExtractOptions& options, int shard, Index rows, Index longest,
                       Index contexts, int threads, bool on_gpu);

} // namespace concord::extract
