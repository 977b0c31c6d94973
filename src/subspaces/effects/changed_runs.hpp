#pragma once
/// A context run once as it is, then from a layer on with changed rows of a span: how the predictions differ. Local, but for messages
/// between the shards of a model.

#include "concord/subspaces/effects/model_shard.hpp"

#include <ATen/core/Tensor.h>
#include <functional>
#include <vector>

namespace concord::subspaces {

/// Rows of a context, counted from its first: [first, last] are the span's, predictions are looked at in [last, end).
struct ChangedRows {
  Index first = 0;
  Index last = 0;
  Index end = 0;
  Index count() const { return end - first; }
  Index in_span() const { return last + 1 - first; }
  Index looked_at() const { return end - last; }
};

/// Of each changed copy, f64, on the CPU. Known to the last shard; undefined on others.
struct Changes {
  at::Tensor kl;   ///< nats, mean over the rows looked at
  at::Tensor loss; ///< nats, mean over those that have a next token; NaN where none has
};

class ChangedRuns {
public:
  /// @param layer behind which rows are changed (-1: the embedding)
  ChangedRuns(const ModelShard& shard, int layer, const std::vector<std::int32_t>& ids);
  /// Of the span [begin, end) with `after` rows behind it, as far as the context goes.
  ChangedRows rows_of(Index begin, Index end, Index after) const;
  /// Rows [first, end) behind the layer, [rows, d]. On the shard that changes them.
  at::Tensor clean_rows(const ChangedRows& rows) const { return behind_.slice(0, rows.first, rows.end); }
  /// So many copies of them and one more, which is to stay as it is: what the others are held against, so that rounding is alike.
  at::Tensor copies(const ChangedRows& rows, Index count) const;
  /// Log probabilities at the span's last row, on the model's device: [vocab] without a change, [n, vocab] of the copies from `first` on,
  /// the last left out.
  using AtLastRow = std::function<void(Index first, const at::Tensor& before, const at::Tensor& changed)>;
  /// Takes the copies, whose rows of the span were changed, through this shard's later blocks; they are used up. Every shard that sees
  /// the change calls it, and only that which made copies has them.
  /// @param count of copies that were changed
  Changes measure(at::Tensor copies, Index count, const ChangedRows& rows, const AtLastRow& look = nullptr) const;

private:
  /// @param count with the copy that stayed as it was
  Changes predictions(const at::Tensor& copies, Index count, const ChangedRows& rows, const AtLastRow& look) const;
  const ModelShard& shard_;
  int layer_;
  const std::vector<std::int32_t>& ids_;
  std::vector<at::Tensor> kept_; ///< queries, keys and values of each block, where any lies behind the layer
  at::Tensor behind_;            ///< the rows behind the layer, where they are changed
};

} // namespace concord::subspaces
