#include "concord/subspaces/effects/effects.hpp"

#include "concord/core/error.hpp"

#include "subspaces/effects/changed_runs.hpp"
#include <ATen/ATen.h>
#include <algorithm>
#include <limits>

namespace concord::subspaces {
namespace {

using at::Tensor;

constexpr double not_known = std::numeric_limits<double>::quiet_NaN();

/// x - y for each basis, [bases + 1, rows, d]; 0 where there is no donor.
Tensor away_from(const Tensor& x, const Swap& swap) {
  std::vector<Tensor> donors;
  for (const auto& rows : swap.rows) donors.push_back(at::tensor(rows, at::kFloat).to(x.device()).view({x.size(0), x.size(1)}));
  donors.push_back(x);
  std::vector<Index> chosen(swap.donor.begin(), swap.donor.end());
  chosen.push_back(-1);
  for (Index& donor : chosen)
    if (donor < 0) donor = static_cast<Index>(swap.rows.size());
  return x - at::stack(donors).index_select(0, at::tensor(chosen, at::kLong).to(x.device()));
}

} // namespace

Removals::Removals(ModelShard shard, int layer, const std::vector<double>& centre, const std::vector<const Basis*>& bases, Index after)
    : shard_(std::move(shard)), layer_(layer), after_(after), count_(static_cast<Index>(bases.size())) {
  if (!shard_.changes(layer_)) return;
  centre_ = at::tensor(centre, at::kFloat).to(shard_.model().device());
  put_bases(bases, static_cast<Index>(centre.size()));
}

void Removals::put_bases(const std::vector<const Basis*>& bases, Index d) {
  Index k = 1;
  for (const Basis* basis : bases) k = std::max(k, basis->k);
  bases_ = at::zeros({count_ + 1, d, k}, at::kFloat); // the last takes nothing: what the others are held against
  const auto put = [&](const Tensor& into, std::size_t b, const std::vector<double>& columns) {
    into[static_cast<Index>(b)].slice(1, 0, bases[b]->k).copy_(at::tensor(columns, at::kDouble).view({d, bases[b]->k}));
  };
  for (std::size_t b = 0; b < bases.size(); ++b)
    if (bases[b]->k > 0) put(bases_, b, bases[b]->u);
  const bool oblique = std::any_of(bases.begin(), bases.end(), [](const Basis* basis) { return !basis->read.empty(); });
  reads_ = oblique ? bases_.clone() : bases_;
  for (std::size_t b = 0; b < bases.size(); ++b)
    if (!bases[b]->read.empty()) put(reads_, b, bases[b]->read);
  const auto device = shard_.model().device();
  bases_ = bases_.to(device);
  reads_ = oblique ? reads_.to(device) : bases_;
}

void Removals::run(const ContextSpans& context, const std::vector<Span>& spans, SpanEffects& out) const {
  const ChangedRuns runs(shard_, layer_, context.ids);
  if (!shard_.sees(layer_)) return;
  for (const std::int32_t number : context.spans) of_span(runs, context, number, spans[static_cast<std::size_t>(number)], nullptr, out);
}

void Removals::run_resampled(const ContextSpans& context, const std::vector<Span>& spans, const SwapOf& swap_of, SpanEffects& out) const {
  const ChangedRuns runs(shard_, layer_, context.ids);
  if (!shard_.sees(layer_)) return;
  for (const std::int32_t number : context.spans) {
    const Swap swap = swap_of(number);
    if (!swap.rows.empty()) {
      of_span(runs, context, number, spans[static_cast<std::size_t>(number)], &swap, out);
      continue;
    }
    if (!tells()) continue;
    out.span.push_back(number);
    out.effects.insert(out.effects.end(), swap.donor.size(), {not_known, not_known, not_known});
    out.energy_of_span.push_back(not_known);
  }
}

void Removals::of_span(const ChangedRuns& runs, const ContextSpans& context, std::int32_t number, const Span& span, const Swap* swap,
                       SpanEffects& out) const {
  const c10::InferenceMode no_gradients;
  const auto rows = runs.rows_of(span.begin - context.first_row, span.end - context.first_row, after_);
  const bool changes_here = shard_.changes(layer_);
  Tensor copies;
  Tensor energy;
  Tensor energy_of_span;
  if (changes_here) {
    const Tensor x = runs.clean_rows(rows).slice(0, 0, rows.in_span()).to(at::kFloat);
    const Tensor away = swap == nullptr ? x - centre_ : away_from(x, *swap); // [span, d] or [bases, span, d]
    const Tensor coefficients = at::matmul(away, reads_);                    // [bases, span, k]
    copies = runs.copies(rows, count_);
    copies.slice(1, 0, rows.in_span()).sub_(at::matmul(coefficients, bases_.transpose(1, 2)).to(copies.scalar_type()));
    energy = coefficients.to(at::kDouble).square().sum({1, 2});
    energy_of_span = (x - centre_).to(at::kDouble).square().sum();
  }
  const Changes changes = runs.measure(std::move(copies), count_, rows);
  if (!tells()) return;
  require(!shard_.is_last() || at::isfinite(changes.kl).all().item<bool>(), ExitCode::bad_data,
          "the model's predictions are not finite behind row {} with a subspace removed behind layer {}", span.end - 1, layer_);
  if (changes_here) energy = energy.cpu();
  out.span.push_back(number);
  out.energy_of_span.push_back(changes_here ? energy_of_span.item<double>() : not_known);
  const auto known = [](const Tensor& of, Index b) { return of.defined() ? of[b].item<double>() : not_known; };
  for (Index b = 0; b < count_; ++b) {
    if (swap != nullptr && swap->donor[static_cast<std::size_t>(b)] < 0)
      out.effects.push_back({not_known, not_known, not_known});
    else
      out.effects.push_back({known(changes.kl, b), known(changes.loss, b), known(energy, b)});
  }
}

} // namespace concord::subspaces
