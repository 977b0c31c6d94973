#pragma once
/// The blocks of a model that a rank runs to measure effects, between those of its neighbours. Local, but for messages to these.

#include "concord/comm/pipe.hpp"
#include "concord/model/transformer.hpp"

#include <memory>
#include <utility>

namespace concord::subspaces {

/// Every shard of a model takes the same contexts and spans in the same order. A context's residual stream goes through all shards. Rows
/// are changed on the shard that has the layer behind which they are to change; their copies go on from there. The last shard predicts.
class ModelShard {
public:
  /// A whole model.
  ModelShard(const model::Transformer& whole) : model_(&whole) {}
  /// @param pipe from the shard before to the shard behind
  ModelShard(const model::Transformer& blocks, std::shared_ptr<comm::Pipe> pipe) : model_(&blocks), pipe_(std::move(pipe)) {}
  const model::Transformer& model() const { return *model_; }
  bool is_first() const { return model_->range().first == 0; }
  /// Whether it has the head.
  bool is_last() const { return model_->range().head; }
  /// Whether rows behind this layer are changed here (-1: the embedding).
  bool changes(int layer) const { return sees(layer) && (is_first() || model_->range().first <= layer); }
  /// Whether rows changed behind this layer come through.
  bool sees(int layer) const { return model_->range().end > layer; }
  /// Whether any of its blocks lies behind this layer.
  bool runs_behind(int layer) const { return model_->range().end > layer + 1; }
  /// Waits for rows [rows, d] of the shard before.
  at::Tensor receive(Index rows) const;
  /// Gives rows [rows, d] to the shard behind; they must stay as they are. Waits while two earlier messages are under way.
  void send(const at::Tensor& rows) const;
  /// Lets messages under way move on.
  void progress() const {
    if (pipe_) pipe_->progress();
  }

private:
  const model::Transformer* model_;
  std::shared_ptr<comm::Pipe> pipe_; ///< none of a whole model
};

} // namespace concord::subspaces
