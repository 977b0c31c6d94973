#pragma once
/// Runs a model over blocks of tokens on a grid of replicas x layer shards and hands the residual stream out: to
/// activations.h5 (`extract`), or straight to an encoder or a trainer (module fused).
///
/// A block is `batch` contexts that go through the model together; its composition does not depend on ranks, so any
/// mixture of replicas and shards computes the same numbers. Replica r takes blocks r, r + replicas, ... of a list. Inside
/// a replica the blocks flow through the shards one behind the other, so that all shards work at once.

#include "concord/comm/gpu.hpp"
#include "concord/comm/session.hpp"
#include "concord/core/provenance.hpp"
#include "concord/corpus/token_reader.hpp"
#include "concord/dist/layer_shards.hpp"
#include "concord/extract/memory_plan.hpp"
#include "concord/extract/options.hpp"
#include "concord/io/row_writer.hpp"
#include "concord/model/config.hpp"

#include <functional>
#include <memory>
#include <span>
#include <vector>

namespace concord::extract {

/// What receives the numbers, on the rank that computed them.
struct Taker {
  /// The rows of a block behind a layer, in the stored type; the buffer goes back to the extractor's pool in the end. May be empty.
  std::function<void(int layer, Index block, io::RowBuffer rows)> rows = {};
  /// Sum of the next-token cross-entropies of a block, and their count.
  std::function<void(Index block, double sum, double count)> loss = {};
  /// Called with the rows [n, d] of a block behind this layer, before `rows`; the next layer gets what it leaves in them. -2: never.
  int replace_layer = -2;
  std::function<void(Index block, std::span<float> rows)> replace = {};
};

class Extractor {
public:
  /// Reads configuration and tokens, and plans the shards; loads no weights. Collective over `comm`, which must outlive it.
  /// @throws Error input_missing, bad_data, config or unavailable (no memory, no GPU); agreed.
  Extractor(const comm::Communicator& comm, const ExtractOptions& options);
  ~Extractor();

  /// Identity of the activations.
  const StageKey& key() const { return key_; }
  const model::ModelConfig& config() const { return config_; }
  const corpus::TokenReader& tokens() const { return *tokens_; }
  const std::vector<int>& layers() const { return layers_; }
  // What follows is Local but where it says otherwise.
  /// The wanted layers that this rank computes; empty on an idle rank.
  const std::vector<int>& my_layers() const { return my_layers_; }
  /// Whether this rank computes the loss.
  bool has_head() const { return has_head_; }
  Index blocks() const { return static_cast<Index>(block_offsets_.size()) - 1; }
  /// Block b is the rows [block_offsets()[b], block_offsets()[b + 1]).
  const std::vector<Index>& block_offsets() const { return block_offsets_; }
  const dist::RankGrid& grid() const { return grid_; }
  io::BufferPool& pool() { return pool_; }
  Index block_rows(Index block) const;
  Index row_bytes() const;     ///< of a row as it is stored
  Index largest_block() const; ///< rows
  /// Planned memory of this rank; 0 when it is idle.
  RankMemory memory() const;
  /// " gpu_planned=... gpu_peak=..." of this rank's GPU; empty without one.
  std::string gpu_memory() const;

  /// Loads this rank's weights, after a check that they fit; nothing when they are there. Collective over comm.
  void load_model();
  /// Runs the given blocks (the same list on every rank). Where `stoppable`, returns whether it was asked to stop; then all ranks
  /// have finished the same first part of the list. Collective over comm.
  /// @throws Error, not agreed: the job ends.
  bool run(const std::vector<Index>& blocks, const Taker& taker, bool stoppable, const std::function<void(Index rows)>& progress = {});

private:
  struct Flow;
  void read_inputs();
  void plan_shards();
  void check_memory() const;
  void one_block(Flow& flow, Index block, Index next);
  void take_loss(const Flow& flow, Index block, const std::vector<std::int32_t>& ids, const std::vector<Index>& offsets);
  void replace(Flow& flow, Index block) const;
  io::RowBuffer stored(const Flow& flow, int layer, Index block);

  const comm::Communicator& comm_;
  ExtractOptions options_;
  model::ModelConfig config_;
  std::unique_ptr<corpus::TokenReader> tokens_;
  std::vector<Index> block_offsets_;
  std::vector<int> layers_;
  std::vector<int> my_layers_;
  Index longest_ = 0;
  bool has_head_ = false;
  StageKey key_;
  dist::RankGrid grid_;
  comm::Communicator active_; ///< the ranks that have a shard
  std::vector<Index> cuts_;
  comm::Gpu gpu_;
  io::BufferPool pool_;
  struct Model;
  std::unique_ptr<Model> model_;
};

} // namespace concord::extract
