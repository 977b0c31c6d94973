#include "subspaces/effects/model_runner.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/node/require_memory.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/at.hpp"
#include "concord/core/log.hpp"
#include "concord/core/machine/threads.hpp"
#include "concord/model/weights.hpp"
#include "concord/subspaces/memory_plan.hpp"

#include "comm/gpu/gpu_memory.hpp"
#include <algorithm>
#include <cmath>
#include <exception>

namespace concord::subspaces {
namespace {

/// What either of two shards knows.
double known(double one, double other) {
  return std::isnan(one) ? other : one;
}

/// Puts the effects on a span that another shard knows into `into`, the last `bases` of a list.
void complete(std::vector<Effect>& into, const Effect* other, std::size_t bases) {
  for (std::size_t b = 0; b < bases; ++b) {
    Effect& effect = into[into.size() - bases + b];
    effect = {known(effect.kl, other[b].kl), known(effect.loss, other[b].loss), known(effect.energy, other[b].energy)};
  }
}

/// Appends every rank's to rank 0's, which are then sorted by span, and puts together what the shards of a replica know of a span.
SpanEffects gathered(const comm::Communicator& comm, const SpanEffects& mine, std::size_t bases) {
  const auto span = comm::gather(comm, mine.span);
  const auto effects = comm::gather(comm, mine.effects);
  const auto energy = comm::gather(comm, mine.energy_of_span);
  std::vector<std::size_t> order(span.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return span[a] < span[b]; });
  SpanEffects sorted;
  for (const std::size_t i : order) {
    const Effect* of_span = effects.data() + i * bases;
    if (!sorted.span.empty() && sorted.span.back() == span[i]) {
      complete(sorted.effects, of_span, bases);
      sorted.energy_of_span.back() = known(sorted.energy_of_span.back(), energy[i]);
      continue;
    }
    sorted.span.push_back(span[i]);
    sorted.energy_of_span.push_back(energy[i]);
    sorted.effects.insert(sorted.effects.end(), of_span, of_span + bases);
  }
  return sorted;
}

dist::RankGrid grid_of(const comm::Communicator& comm, int shards, int layers) {
  return {comm.size(), std::clamp(shards, 1, std::max(1, std::min(comm.size(), layers)))};
}

constexpr const char* more_shards = "raise extract.layer_shards (more ranks share the model)";

} // namespace

ModelRunner::ModelRunner(const comm::Communicator& comm, const extract::ExtractOptions& options, const corpus::TokenReader& tokens)
    : comm_(comm), options_(options), tokens_(tokens), config_(comm::agreed(comm, [&] { return model::read_config(options.model); })),
      grid_(grid_of(comm, options.layer_shards, config_.layers)), active_(comm.split(is_idle() ? 1 : 0)) {}

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
  if (!is_loaded_) return;
  is_loaded_ = false;
  gpu_memory_ = comm::gpu_memory_text(gpu_.number, gpu_planned_);
  shard_.reset();
  pipe_.reset();
  model_.reset();
  comm::give_back_gpu_cache();
}

model::LayerRange ModelRunner::blocks(Index longest) const {
  return blocks_of_shard(config_, grid_.shards, grid_.shard(comm_.rank()), longest);
}

void ModelRunner::require_gpu_memory(Index longest, Index rows) {
  const double need = is_idle() ? 0 : effects_gpu_bytes(config_, blocks(longest), options_.compute, longest, rows);
  gpu_planned_ = std::max(gpu_planned_, need);
  comm::agree(comm_, [&] {
    require(
        gpu_.number < 0 || need <= gpu_.memory, ExitCode::unavailable,
        "subspaces does not fit: for effects this rank needs {} of its GPU, and may take {} of it, since {} ranks have it; {}, take fewer "
        "ranks a GPU, extract.compute = \"bf16\", or extract.device = \"cpu\"",
        human_bytes(need), human_bytes(gpu_.memory), gpu_.sharing, more_shards);
  });
}

/// The ranks of a node have different shards: each counts with the mean of them.
void ModelRunner::require_host_memory(Index longest, Index rows) const {
  const auto range = blocks(longest);
  const double here = gpu_.number < 0 && !is_idle() ? 1 : 0;
  const double sent =
      is_idle() || grid_.shards == 1 ? 0 : 12.0 * static_cast<double>(config_.hidden * (longest + rows)); // beside a GPU, too
  MemoryPlan plan("subspaces");
  plan.begin_phase("effects");
  const auto each_rank = [&](const char* what, const char* formula, double bytes) {
    plan.each_rank(what, formula, comm::sum_on_node(comm_, bytes) / comm::node_size(comm_));
  };
  each_rank("the blocks of the model that a rank has", "w P", here * model::weight_bytes(config_, range, options_.compute, false));
  each_rank("queries, keys and values of a context", "4 T L (h + 2 g) e",
            here * 4.0 * static_cast<double>(longest * (range.end - range.first) * config_.qkv_width()));
  each_rank("a batch of rows", "",
            here * model::working_bytes(config_, range, options_.compute, std::max(longest, rows), longest, thread_count()));
  each_rank("changed rows of a span", "16 b a d", here * 16.0 * static_cast<double>(rows * config_.hidden));
  each_rank("attention of changed rows", "12 b h a T_c",
            here * 12.0 * static_cast<double>(rows * config_.heads) * static_cast<double>(longest));
  each_rank("rows on their way between shards", "12 d (T_c + a)", sent);
  comm::require_memory(comm_, plan, std::string(more_shards) + ", start fewer ranks a node, or set subspaces.effects = false");
}

/// For so many changed copies of a span at once.
void ModelRunner::load(Index copies, const EffectPlaces& places) {
  Index longest = 1;
  for (Index c = 0; c < tokens_.contexts(); ++c)
    longest = std::max(longest, tokens_.context_offsets()[at(c) + 1] - tokens_.context_offsets()[at(c)]);
  if (!is_loaded_) {
    model::require_context(config_, longest); // all ranks see the same
    gpu_ = comm::bind_gpu(comm_, options_.device, options_.allow_shared_gpu);
    if (gpu_.number < 0) comm::warn_of_idle_gpus("subspaces", "extract.device = \"cuda\"");
    if (grid_.active() < comm_.size())
      log_warn("subspaces: {} of {} ranks measure no effects, since {} layer shards do not divide them; start a multiple of {}",
               comm_.size() - grid_.active(), comm_.size(), grid_.shards, grid_.shards);
  }
  Index span = 1;
  for (const std::int32_t number : places.at_spans) span = std::max(span, places.spans[at(number)].length());
  const Index rows = (copies + 1) * std::min(longest, span + places.after);
  require_gpu_memory(longest, rows);
  if (is_loaded_) return;
  require_host_memory(longest, rows);
  comm::begin_gpu_peak(gpu_.number);
  const auto files = model::weight_files(comm_, options_.model);
  const auto device = gpu_.number < 0 ? at::Device(at::kCPU) : at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(gpu_.number));
  comm::agree(comm_, [&] {
    if (is_idle()) return;
    model_ =
        std::make_unique<model::Transformer>(options_.model, blocks(longest), model::torch_dtype(options_.compute), device, longest, files);
    const int rank = active_.rank();
    pipe_ = std::make_shared<comm::Pipe>(active_, model_->range().first > 0 ? rank - 1 : -1, model_->range().head ? -1 : rank + 1);
    shard_.emplace(*model_, pipe_);
  });
  is_loaded_ = true;
}

/// Contexts with spans go to the replicas in turn.
std::vector<ContextSpans> ModelRunner::my_contexts(const std::vector<Span>& spans, const std::vector<std::int32_t>& at_spans) const {
  const auto& offsets = tokens_.context_offsets();
  const auto is_mine = [&](Index number) { return !is_idle() && number % grid_.replicas() == grid_.replica(comm_.rank()); };
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
      if (is_mine(number)) contexts.push_back({behind[-1], {}, {}});
    }
    if (!is_mine(number)) continue;
    if (next) contexts.back().ids = tokens_.ids(contexts.back().first_row, end - contexts.back().first_row);
    contexts.back().spans.push_back(span);
  }
  return contexts;
}

void ModelRunner::each_context(const EffectPlaces& places, const std::function<void(const ContextSpans&)>& take) const {
  const auto contexts = comm::agreed(comm_, [&] { return my_contexts(places.spans, places.at_spans); });
  const comm::StopWithin stop;
  const Index steps = comm::max_of(comm_, static_cast<Index>(contexts.size()));
  std::exception_ptr failed;
  if (!is_idle()) {
    comm::StopVote vote(active_, grid_.shards > 1 ? grid_.shards + 1 : 1); // no shard waits for the slowest at each context
    bool stopped = false;
    for (Index step = 0; step < steps && !stopped; ++step) {
      stopped = vote.stop_before_step(stop.wanted_here() || failed != nullptr);
      if (stopped || failed != nullptr || step >= static_cast<Index>(contexts.size())) continue;
      try {
        take(contexts[at(step)]);
      } catch (...) {
        if (grid_.shards > 1) throw; // neighbours wait for messages, not for an agreement
        failed = std::current_exception();
      }
    }
    pipe_->finish();
    vote.end();
  }
  comm::agree(comm_, [&] {
    if (failed != nullptr) std::rethrow_exception(failed);
  });
  stop.throw_if_wanted(comm_, "subspaces");
}

SpanEffects ModelRunner::span_effects(int layer, const std::vector<double>& centre, const std::vector<const Basis*>& bases,
                                      const EffectPlaces& places) {
  load(static_cast<Index>(bases.size()), places);
  std::optional<Removals> removals;
  if (shard_) removals.emplace(*shard_, layer, centre, bases, places.after);
  SpanEffects mine;
  each_context(places, [&](const ContextSpans& context) { removals->run(context, places.spans, mine); });
  return gathered(comm_, mine, bases.size());
}

EffectMatrices ModelRunner::effects(int layer, const LayerBases& bases, const RemovedBases& removed, const EffectPlaces& places,
                                    const Resampling* resampled) {
  std::vector<const Basis*> all;
  for (const BasisKind kind : removed.kinds)
    for (const Basis& basis : bases.of[static_cast<std::size_t>(kind)]) all.push_back(&basis);
  if (resampled == nullptr) return effect_means(places.spans, span_effects(layer, bases.centre, all, places), removed, bases);
  const auto count = static_cast<Index>(all.size());
  load(count, places);
  std::optional<Removals> removals;
  if (shard_) removals.emplace(*shard_, layer, bases.centre, all, places.after);
  const SwapOf swap_of = [&](std::int32_t span) {
    const Donors& donors = resampled->donors.at(span);
    return shard_->changes(layer) ? read_swap(resampled->rows, places.spans, donors, removed.concepts, count)
                                  : swap_without_rows(places.spans, donors, removed.concepts, count);
  };
  SpanEffects mine;
  each_context(places, [&](const ContextSpans& context) { removals->run_resampled(context, places.spans, swap_of, mine); });
  return effect_means(places.spans, gathered(comm_, mine, all.size()), removed, bases);
}

SteeringMatrices ModelRunner::steered(int layer, const SteeringDirections& directions, double strength, const ConceptTokens& tokens,
                                      const EffectPlaces& places) {
  load(static_cast<Index>(directions.unit.size()), places);
  std::optional<Steering> steering;
  if (shard_) steering.emplace(*shard_, layer, directions, strength, tokens, places.after);
  SpanSteering mine;
  each_context(places, [&](const ContextSpans& context) { steering->run(context, places.spans, mine); });
  const SpanSteering all{comm::gather(comm_, mine.span), comm::gather(comm_, mine.kl), comm::gather(comm_, mine.writes)};
  return steering_means(places.spans, all, directions);
}

} // namespace concord::subspaces
