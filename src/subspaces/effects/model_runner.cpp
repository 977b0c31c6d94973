#include "subspaces/effects/model_runner.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/node/require_memory.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/at.hpp"
#include "concord/core/machine/threads.hpp"
#include "concord/model/weights.hpp"

#include <algorithm>

namespace concord::subspaces {
namespace {

/// Appends every rank's to rank 0's, which are then sorted by span.
SpanEffects gathered(const comm::Communicator& comm, const SpanEffects& mine, std::size_t bases) {
  const auto span = comm::gather(comm, mine.span);
  const auto effects = comm::gather(comm, mine.effects);
  const auto energy = comm::gather(comm, mine.energy_of_span);
  std::vector<std::size_t> order(span.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return span[a] < span[b]; });
  SpanEffects sorted;
  for (const std::size_t i : order) {
    sorted.span.push_back(span[i]);
    sorted.energy_of_span.push_back(energy[i]);
    const auto first = effects.begin() + static_cast<std::ptrdiff_t>(i * bases);
    sorted.effects.insert(sorted.effects.end(), first, first + static_cast<std::ptrdiff_t>(bases));
  }
  return sorted;
}

} // namespace

ModelRunner::ModelRunner(const comm::Communicator& comm, const extract::ExtractOptions& options, const corpus::TokenReader& tokens)
    : comm_(comm), options_(options), tokens_(tokens), config_(comm::agreed(comm, [&] { return model::read_config(options.model); })) {}

ModelRunner::~ModelRunner() = default;

Index ModelRunner::width() const {
  return config_.hidden;
}

int ModelRunner::layers() const {
  return config_.layers;
}

void ModelRunner::release() {
  model_.reset();
}

void ModelRunner::load() {
  if (model_) return;
  Index longest = 0;
  for (Index c = 0; c < tokens_.contexts(); ++c)
    longest = std::max(longest, tokens_.context_offsets()[at(c) + 1] - tokens_.context_offsets()[at(c)]);
  const model::LayerRange whole{0, config_.layers, true};
  MemoryPlan plan("subspaces");
  plan.begin_phase("effects");
  plan.each_rank("the whole model", "w P", model::weight_bytes(config_, whole, options_.compute, false));
  plan.each_rank("queries, keys and values of a context", "4 T L (h + 2 g) e",
                 4.0 * static_cast<double>(longest * config_.layers * config_.qkv_width()));
  plan.each_rank("a batch of rows", "", model::working_bytes(config_, whole, options_.compute, longest, longest, thread_count()));
  comm::require_memory(comm_, plan, "fewer ranks a node, or subspaces.effects = false");
  const auto files = model::weight_files(comm_, options_.model);
  comm::agree(comm_, [&] {
    model_ = std::make_unique<model::Transformer>(options_.model, whole, model::torch_dtype(options_.compute), at::kCPU, longest, files);
  });
}

/// Contexts with spans go to the ranks in turn.
std::vector<ContextSpans> ModelRunner::my_contexts(const std::vector<Span>& spans, const std::vector<std::int32_t>& at_spans) const {
  const auto& offsets = tokens_.context_offsets();
  std::vector<ContextSpans> contexts;
  Index number = -1;
  Index end = 0;
  for (const std::int32_t span : at_spans) {
    const Index row = spans[at(span)].begin;
    const bool next = row >= end;
    if (next) {
      const auto behind = std::upper_bound(offsets.begin(), offsets.end(), row);
      end = *behind;
      ++number;
      if (number % comm_.size() == comm_.rank()) contexts.push_back({behind[-1], {}, {}});
    }
    if (number % comm_.size() != comm_.rank()) continue;
    if (next) contexts.back().ids = tokens_.ids(contexts.back().first_row, end - contexts.back().first_row);
    contexts.back().spans.push_back(span);
  }
  return contexts;
}

void ModelRunner::each_context(const EffectPlaces& places, const std::function<void(const ContextSpans&)>& take) const {
  const auto contexts = comm::agreed(comm_, [&] { return my_contexts(places.spans, places.at_spans); });
  const comm::StopWithin stop;
  const Index rounds = comm::max_of(comm_, static_cast<Index>(contexts.size()));
  for (Index round = 0; round < rounds; ++round) {
    comm::agree(comm_, [&] {
      if (round < static_cast<Index>(contexts.size())) take(contexts[at(round)]);
    });
    stop.throw_if_wanted(comm_, "subspaces");
  }
}

SpanEffects ModelRunner::span_effects(int layer, const std::vector<double>& centre, const std::vector<const Basis*>& bases,
                                      const EffectPlaces& places) {
  load();
  const Removals removals(*model_, layer, centre, bases, places.after);
  SpanEffects mine;
  each_context(places, [&](const ContextSpans& context) { removals.run(context, places.spans, mine); });
  return gathered(comm_, mine, bases.size());
}

EffectMatrices ModelRunner::effects(int layer, const LayerBases& bases, const RemovedBases& removed, const EffectPlaces& places,
                                    const Resampling* resampled) {
  std::vector<const Basis*> all;
  for (const BasisKind kind : removed.kinds)
    for (const Basis& basis : bases.of[static_cast<std::size_t>(kind)]) all.push_back(&basis);
  if (resampled == nullptr) return effect_means(places.spans, span_effects(layer, bases.centre, all, places), removed, bases);
  load();
  const Removals removals(*model_, layer, bases.centre, all, places.after);
  const SwapOf swap_of = [&](std::int32_t span) {
    return read_swap(resampled->rows, places.spans, resampled->donors.at(span), removed.concepts, static_cast<Index>(all.size()));
  };
  SpanEffects mine;
  each_context(places, [&](const ContextSpans& context) { removals.run_resampled(context, places.spans, swap_of, mine); });
  return effect_means(places.spans, gathered(comm_, mine, all.size()), removed, bases);
}

SteeringMatrices ModelRunner::steered(int layer, const SteeringDirections& directions, double strength, const ConceptTokens& tokens,
                                      const EffectPlaces& places) {
  load();
  const Steering steering(*model_, layer, directions, strength, tokens, places.after);
  SpanSteering mine;
  each_context(places, [&](const ContextSpans& context) { steering.run(context, places.spans, mine); });
  const SpanSteering all{comm::gather(comm_, mine.span), comm::gather(comm_, mine.kl), comm::gather(comm_, mine.writes)};
  return steering_means(places.spans, all, directions);
}

} // namespace concord::subspaces
