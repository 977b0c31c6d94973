#include "concord/subspaces/effects.hpp"

#include "concord/core/error.hpp"

#include <ATen/ATen.h>
#include <algorithm>
#include <limits>

namespace concord::subspaces {

using at::Tensor;

/// A run of a context without a change.
struct Removals::Clean {
  model::Contexts whole;
  std::vector<Tensor> kept; ///< queries, keys and values of each block
  Tensor behind;            ///< the rows behind the layer
};

Removals::Removals(const model::Transformer& model, int layer, const std::vector<double>& centre, const std::vector<const Basis*>& bases,
                   Index after)
    : model_(model), layer_(layer), after_(after), centre_(at::tensor(centre, at::kFloat)) {
  Index k = 1;
  for (const Basis* basis : bases) k = std::max(k, basis->k);
  const auto d = static_cast<Index>(centre.size());
  bases_ = at::zeros({static_cast<Index>(bases.size()) + 1, d, k}, at::kFloat); // the last takes nothing: what the others are held against
  for (std::size_t b = 0; b < bases.size(); ++b)
    if (bases[b]->k > 0)
      bases_[static_cast<Index>(b)].slice(1, 0, bases[b]->k).copy_(at::tensor(bases[b]->u, at::kDouble).view({d, bases[b]->k}));
}

void Removals::run(const ContextSpans& context, const std::vector<Span>& spans, SpanEffects& out) const {
  const c10::InferenceMode no_gradients;
  const auto rows = static_cast<Index>(context.ids.size());
  Clean clean;
  clean.whole = model_.contexts({0, rows});
  Tensor residual_stream = model_.embed(context.ids);
  clean.kept = model_.run_keeping(residual_stream, clean.whole, [&](int layer, const Tensor& residual) {
    if (layer == layer_) clean.behind = residual.clone();
  });
  for (const std::int32_t number : context.spans) {
    out.span.push_back(number);
    of_span(clean, context, spans[static_cast<std::size_t>(number)], out);
  }
}

void Removals::of_span(const Clean& clean, const ContextSpans& context, const Span& span, SpanEffects& out) const {
  const Index first = span.begin - context.first_row;
  const Index last = span.end - 1 - context.first_row;
  const auto rows = static_cast<Index>(context.ids.size());
  const Index end = std::min(rows, last + 1 + after_);
  const Index count = bases_.size(0);
  const Index n = end - first;
  const Index in_span = last + 1 - first;
  const Tensor clean_rows = clean.behind.slice(0, first, end);
  const Tensor away = clean_rows.slice(0, 0, in_span).to(at::kFloat) - centre_; // [span, d]
  const Tensor coefficients = at::matmul(away, bases_);                         // [bases, span, k]
  const Tensor taken = at::matmul(coefficients, bases_.transpose(1, 2));        // [bases, span, d]
  Tensor copies = clean_rows.unsqueeze(0).expand({count, n, clean_rows.size(1)}).clone();
  copies.slice(1, 0, in_span).sub_(taken.to(copies.scalar_type()));
  copies = copies.view({count * n, -1});
  model_.run_copies(copies, layer_, first, clean.kept, model_.contexts({0, end}));
  // The rows whose predictions are looked at.
  const Index looked_at = end - last;
  const Tensor changed = copies.view({count, n, -1}).slice(1, in_span - 1).contiguous().view({count * looked_at, -1});
  std::vector<Index> targets;
  for (Index row = last; row < end; ++row) targets.push_back(row + 1 < rows ? context.ids[static_cast<std::size_t>(row) + 1] : -1);
  const auto with_target = std::count_if(targets.begin(), targets.end(), [](Index id) { return id >= 0; });
  Tensor before;
  model_.log_probabilities(changed.slice(0, (count - 1) * looked_at), [&](Index, const Tensor& piece) {
    before = before.defined() ? at::cat({before, piece}) : piece;
  });
  const Tensor target = at::tensor(targets, at::kLong).clamp_min(0);
  const Tensor known = at::tensor(targets, at::kLong).ge(0).to(at::kDouble);
  std::vector<Tensor> kl;
  std::vector<Tensor> loss;
  model_.log_probabilities(changed, [&](Index begin, const Tensor& piece) {
    const Tensor row = at::arange(begin, begin + piece.size(0)).remainder(looked_at);
    const Tensor reference = before.index_select(0, row);
    kl.push_back((reference.exp() * (reference - piece)).sum(-1, false, at::kDouble));
    const Tensor id = target.index_select(0, row).unsqueeze(1);
    loss.push_back((reference.gather(1, id) - piece.gather(1, id)).squeeze(1).to(at::kDouble) * known.index_select(0, row));
  });
  const Tensor kl_of = at::cat(kl).view({count, looked_at}).mean(1);
  const Tensor loss_of = at::cat(loss).view({count, looked_at}).sum(1) / static_cast<double>(with_target);
  const Tensor energy = coefficients.to(at::kDouble).square().sum({1, 2});
  require(at::isfinite(kl_of).all().item<bool>(), ExitCode::bad_data,
          "the model's predictions are not finite behind row {} with a subspace removed behind layer {}", span.end - 1, layer_);
  for (Index b = 0; b + 1 < count; ++b)
    out.effects.push_back({kl_of[b].item<double>(), with_target > 0 ? loss_of[b].item<double>() : std::numeric_limits<double>::quiet_NaN(),
                           energy[b].item<double>()});
  out.energy_of_span.push_back(away.to(at::kDouble).square().sum().item<double>());
}

} // namespace concord::subspaces
