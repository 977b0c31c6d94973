#include "concord/extract/extract.hpp"

#include "concord/comm/agree.hpp"
#include "concord/core/log.hpp"
#include "concord/core/machine/threads.hpp"
#include "concord/core/text.hpp"
#include "concord/extract/memory_plan.hpp"

#include "app/command/command.hpp"
#include "app/command/model_flags.hpp"
#include "app/plan/plan_sizes.hpp"
#include "app/results/checks/checks.hpp"
#include "app/stages/options.hpp"
#include "app/stages/stages.hpp"
#include <algorithm>

namespace concord::app {
namespace {

void add_flags(Command& command) {
  ModelFlags model(command.flags());
  command.flags().add_option("--out", model.options().out, "activations.h5 to write");
  command.without_study([&command, model]() mutable {
    auto& o = model.options();
    command.need(!o.model.empty() && !o.tokens.empty() && !o.out.empty(), "--model, --tokens and --out");
    model.take(command.world(), o.out, command.force());
    o.force = command.force();
    extract::extract(command.world(), o);
  });
}

bool has_work(const study::Study& study) {
  return !study.flag("extract.fused");
}

void run(const StageRun& run) {
  if (!has_work(run.study)) {
    log_info("extract: fused; the model runs inside train-sae and encode");
    return;
  }
  std::size_t unit = 0;
  for (const auto& model : run.study.models()) {
    if (!model.is_extracted() || !run.share.has(unit++)) continue;
    auto o = comm::agreed(run.comm, [&] { return extract_options(run.study, model); });
    o.force = run.force;
    extract::extract(run.comm, o);
  }
}

std::vector<StageResult> results(const study::Study& study) {
  const StudyFiles files(study);
  std::vector<StageResult> all;
  for (const auto& model : study.models()) {
    if (!model.is_extracted()) continue;
    all.push_back({.unit = named("extract", model),
                   .path = files.activations(model),
                   .reads = {{"tokens", files.tokens(model).string(), StageInput::Kind::tokens}},
                   .wanted = !study.flag("extract.fused"),
                   .needed = false}); // it may have been put away
  }
  return all;
}

/// Of the shard whose ranks need most.
extract::RankMemory rank_memory(const PlanSizes& s, const ModelPlan& m) {
  auto options = extract_options(s.study, m.model);
  options.layer_shards = std::clamp(options.layer_shards, 1, std::min(s.ranks, m.config.layers));
  const Index context = s.study.integer("corpus.context");
  const auto contexts = static_cast<Index>(s.tokens) / context + 1;
  extract::RankMemory most;
  for (int shard = 0; shard < options.layer_shards; ++shard) {
    const auto memory = extract::rank_memory(m.config, options, shard, std::min(contexts, options.batch) * context, context, contexts,
                                             thread_count(), options.device == Device::cuda);
    if (memory.total() + memory.on_device() > most.total() + most.on_device()) most = memory;
  }
  return most;
}

std::vector<StagePlan> plan(const PlanSizes& s) {
  std::vector<StagePlan> all;
  for (const auto& m : s.models) {
    if (!m.model.is_extracted()) continue;
    const auto memory = rank_memory(s, m);
    auto size = forward_size(s, m, s.tokens);
    StagePlan one{named("extract", m.model),
                  s.fused() ? 0.0 : activations_disk(s.disk, m.layers, m.width(), s.value()),
                  s.tokens * size.row_flops,
                  extract::memory_plan(memory, named("extract", m.model)),
                  {{size.bf16 ? cost::Work::product_bf16 : cost::Work::product_f32,
                    size.batch_rows * size.row_flops * (s.shards() > 1 ? s.shards() + 1 : 1) / s.shards(), m.width()}}};
    size.written = one.disk;
    if (!s.fused()) one.add(cost::extract_cost(size, s.layout()));
    if (s.study.text("extract.device") == "cuda") one.of_gpu = memory.on_device();
    all.push_back(std::move(one));
  }
  return all;
}

} // namespace

Stage extract_stage() {
  return {.word = "extract",
          .help = "tokens + model weights -> activations.h5",
          .table = "extract",
          .units = "models",
          .command = add_flags,
          .keys_of_flags = {{"--model", "model.NAME.path"}, {"--layers", "model.a.layers"}},
          .has_work = has_work,
          .run = run,
          .results = results,
          .plan = plan,
          .checks = {{"extract", check_activations}}};
}

} // namespace concord::app
