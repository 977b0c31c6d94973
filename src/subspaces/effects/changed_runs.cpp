#include "subspaces/effects/changed_runs.hpp"

#include <ATen/ATen.h>
#include <algorithm>
#include <limits>

namespace concord::subspaces {

using at::Tensor;

ChangedRuns::ChangedRuns(const ModelShard& shard, int layer, const std::vector<std::int32_t>& ids)
    : shard_(shard), layer_(layer), ids_(ids) {
  const c10::InferenceMode no_gradients;
  const auto& model = shard_.model();
  const auto count = static_cast<Index>(ids_.size());
  const auto contexts = model.contexts({0, count});
  Tensor residual_stream = shard_.is_first() ? model.embed(ids_, contexts) : shard_.receive(count);
  const model::ResidualTap tap = [&](int at_layer, const Tensor& rows) {
    shard_.progress();
    if (at_layer == layer_) behind_ = rows.clone();
  };
  if (shard_.runs_behind(layer_))
    kept_ = model.run_keeping(residual_stream, contexts, tap);
  else
    model.run(residual_stream, contexts, tap);
  if (!shard_.is_last()) shard_.send(residual_stream);
}

ChangedRows ChangedRuns::rows_of(Index begin, Index end, Index after) const {
  return {begin, end - 1, std::min(static_cast<Index>(ids_.size()), end + after)};
}

Tensor ChangedRuns::copies(const ChangedRows& rows, Index count) const {
  const Tensor clean = clean_rows(rows);
  return clean.unsqueeze(0).expand({count + 1, rows.count(), clean.size(1)}).clone();
}

Changes ChangedRuns::measure(Tensor copies, Index count, const ChangedRows& rows, const AtLastRow& look) const {
  if (!shard_.sees(layer_)) return {};
  const Index all = (count + 1) * rows.count();
  copies = shard_.changes(layer_) ? copies.view({all, -1}) : shard_.receive(all);
  const auto& model = shard_.model();
  model.run_copies(copies, layer_, rows.first, kept_, model.contexts({0, rows.end}), [&](int, const Tensor&) { shard_.progress(); });
  if (shard_.is_last()) return predictions(copies, count + 1, rows, look);
  shard_.send(copies);
  return {};
}

Changes ChangedRuns::predictions(const Tensor& copies, Index count, const ChangedRows& rows, const AtLastRow& look) const {
  const auto& model = shard_.model();
  const Index looked_at = rows.looked_at();
  const Tensor changed =
      copies.view({count, rows.count(), -1}).slice(1, rows.in_span() - 1).contiguous().view({count * looked_at, copies.size(1)});
  std::vector<Index> targets;
  for (Index row = rows.last; row < rows.end; ++row)
    targets.push_back(row + 1 < static_cast<Index>(ids_.size()) ? ids_[static_cast<std::size_t>(row) + 1] : -1);
  const auto with_target = std::count_if(targets.begin(), targets.end(), [](Index id) { return id >= 0; });
  Tensor before;
  model.log_probabilities(changed.slice(0, (count - 1) * looked_at), [&](Index, const Tensor& piece) {
    before = before.defined() ? at::cat({before, piece}) : piece;
  });
  const Tensor next = at::tensor(targets, at::kLong).to(model.device());
  const Tensor target = next.clamp_min(0);
  const Tensor known = next.ge(0).to(at::kDouble);
  std::vector<Tensor> kl;
  std::vector<Tensor> loss;
  model.log_probabilities(changed.slice(0, 0, (count - 1) * looked_at), [&](Index begin, const Tensor& piece) {
    const Tensor row = at::arange(begin, begin + piece.size(0), next.options()).remainder(looked_at);
    const Tensor reference = before.index_select(0, row);
    kl.push_back((reference.exp() * (reference - piece)).sum(-1, false, at::kDouble));
    const Tensor id = target.index_select(0, row).unsqueeze(1);
    loss.push_back((reference.gather(1, id) - piece.gather(1, id)).squeeze(1).to(at::kDouble) * known.index_select(0, row));
    if (!look) return;
    const Tensor last_rows = row.eq(0).nonzero().squeeze(1);
    if (last_rows.size(0) > 0) look((begin + looked_at - 1) / looked_at, before[0], piece.index_select(0, last_rows));
  });
  if (count == 1) return {at::zeros({0}, at::kDouble), at::zeros({0}, at::kDouble)};
  const double none = std::numeric_limits<double>::quiet_NaN();
  return {at::cat(kl).view({count - 1, looked_at}).mean(1).cpu(),
          (at::cat(loss).view({count - 1, looked_at}).sum(1) / (with_target > 0 ? static_cast<double>(with_target) : none)).cpu()};
}

} // namespace concord::subspaces
