#include "subspaces/effects/model_runner.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/node/require_memory.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/at.hpp"
#include "concord/core/machine/threads.hpp"
#include "concord/model/weights.hpp"
#include "concord/subspaces/memory_plan.hpp"

#include "comm/gpu/gpu_memory.hpp"
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

ModelRunner::~ModelRunner() {
  release();
}

Index ModelRunner::width() const {
  return config_.hidden;
}

int ModelRunner::layers() const {
  return config_.layers;
}

void ModelRunner::release() {
  if (!model_) return;
  gpu_memory_ = comm::gpu_memory_text(gpu_.number, gpu_planned_);
  model_.reset();
  comm::give_back_gpu_cache();
}

void ModelRunner::require_gpu_memory(Index copies, const EffectPlaces& places, Index longest) {
  Index span = 1;
  for (const std::int32_t number : places.at_spans) span = std::max(span, places.spans[at(number)].length());
  const double need = effects_gpu_bytes(config_, options_.compute, longest, (copies + 1) * std::min(longest, span + places.after));
  gpu_planned_ = std::max(gpu_planned_, need);
  comm::agree(comm_, [&] {
    require(gpu_.number < 0 || need <= gpu_.memory, ExitCode::unavailable,
            "subspaces does not fit: for effects this rank needs {} of its GPU, and may take {} of it, since {} ranks have it; take fewer "
            "ranks a GPU, extract.compute = \"bf16\", or extract.device = \"cpu\"",
            human_bytes(need), human_bytes(gpu_.memory), gpu_.sharing);
  });
}

/// For so many changed copies of a span at once.
void ModelRunner::load(Index copies, const EffectPlaces& places) {
  Index longest = 1;
  for (Index c = 0; c < tokens_.contexts(); ++c)
    longest = std::max(longest, tokens_.context_offsets()[at(c) + 1] - tokens_.context_offsets()[at(c)]);
  if (!model_) {
    gpu_ = comm::bind_gpu(comm_, options_.device, options_.allow_shared_gpu);
    if (gpu_.number < 0) comm::warn_of_idle_gpus("subspaces", "extract.device = \"cuda\"");
  }
  require_gpu_memory(copies, places, longest);
  if (model_) return;
  const bool here = gpu_.number < 0;
  const model::LayerRange whole{0, config_.layers, true};
  MemoryPlan plan("subspaces");
  plan.begin_phase("effects");
  plan.each_rank("the whole model", "w P", model::weight_bytes(config_, whole, options_.compute, false));
  plan.each_rank("queries, keys and values of a context", "4 T L (h + 2 g) e",
                 4.0 * static_cast<double>(longest * config_.layers * config_.qkv_width()));
  plan.each_rank("a batch of rows", "", model::working_bytes(config_, whole, options_.compute, longest, longest, thread_count()));
  comm::require_memory(comm_, here ? plan : MemoryPlan("subspaces"), "fewer ranks a node, or subspaces.effects = false");
  comm::begin_gpu_peak(gpu_.number);
  const auto files = model::weight_files(comm_, options_.model);
  const auto device = here ? at::Device(at::kCPU) : at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(gpu_.number));
  comm::agree(comm_, [&] {
    model_ = std::make_unique<model::Transformer>(options_.model, whole, model::torch_dtype(options_.compute), device, longest, files);
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
  load(static_cast<Index>(bases.size()), places);
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
  load(static_cast<Index>(all.size()), places);
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
  load(static_cast<Index>(directions.unit.size()), places);
  const Steering steering(*model_, layer, directions, strength, tokens, places.after);
  SpanSteering mine;
  each_context(places, [&](const ContextSpans& context) { steering.run(context, places.spans, mine); });
  const SpanSteering all{comm::gather(comm_, mine.span), comm::gather(comm_, mine.kl), comm::gather(comm_, mine.writes)};
  return steering_means(places.spans, all, directions);
}

} // namespace concord::subspaces
