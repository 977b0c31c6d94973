#include "concord/features/encode.hpp"

#include "concord/comm/agree.hpp"
#include "concord/core/machine/threads.hpp"
#include "concord/core/text.hpp"
#include "concord/extract/extract.hpp"
#include "concord/features/memory_plan.hpp"
#include "concord/fused/encode.hpp"

#include "app/command/command.hpp"
#include "app/command/setting_flags.hpp"
#include "app/plan/plan_sizes.hpp"
#include "app/results/checks/checks.hpp"
#include "app/stages/options.hpp"
#include "app/stages/stages.hpp"
#include <algorithm>

namespace concord::app {
namespace {

void add_flags(Command& command) {
  auto options = std::make_shared<features::EncodeOptions>();
  auto layers = std::make_shared<std::string>("all");
  auto& flags = command.flags();
  flags.add_option("--activations", options->activations, "activations.h5");
  flags.add_option("--saes", options->saes, "folder of layer_LLL folders, or a path with {layer}");
  flags.add_option("--layers", *layers, "all, or numbers such as 0,3,5")->capture_default_str();
  const auto given = add_setting_flags(flags, settings::list_of<features::EncodeSettings>(*options));
  flags.add_option("--out", options->out, "features.h5 to write");
  command.without_study([&command, options, layers, given] {
    command.need(!options->activations.empty() && !options->saes.empty() && !options->out.empty(), "--activations, --saes and --out");
    comm::agree(command.world(), [&] {
      options->layers = extract::parse_layers(*layers);
      assign_given<features::EncodeSettings>(*options, *given);
    });
    options->force = command.force();
    features::encode(command.world(), *options);
  });
}

void run(const StageRun& run) {
  std::size_t unit = 0;
  for (const auto& model : run.study.models()) {
    if (!run.share.has(unit++)) continue;
    auto o = encode_options(run.study, model);
    o.force = run.force;
    if (run.study.flag("extract.fused"))
      fused::encode(run.comm, comm::agreed(run.comm, [&] { return extract_options(run.study, model); }), o);
    else
      features::encode(run.comm, o);
  }
}

std::vector<StageResult> results(const study::Study& study) {
  const StudyFiles files(study);
  std::vector<StageResult> all;
  for (const auto& model : study.models())
    all.push_back({named("encode", model),
                   files.features(model),
                   {{"activations", files.activations(model).string()}, {"sae/", files.saes(model), StageInput::Kind::saes}}});
  return all;
}

std::vector<StagePlan> plan(const PlanSizes& s) {
  StagePlan all{"encode", 0, 0, MemoryPlan("encode")};
  for (const auto& m : s.models) {
    const double disk = features_disk(s.disk, m.layers);
    all.disk += disk;
    all.add(cost::encode_cost({.layers = m.layers,
                               .rows = s.tokens,
                               .row_bytes = s.fused() ? 0 : m.width() * s.value(),
                               .latents = s.latents(),
                               .active = s.active(),
                               .width = m.width(),
                               .top = static_cast<double>(s.study.integer("encode.top")),
                               .written = disk - 8 * s.tokens * (s.active() + 1)}, // without a layer's codes under way
                              s.layout()));
    if (s.fused()) all.add(cost::extract_cost(forward_size(s, m, s.tokens), s.layout()));
    all.flops += m.layers * s.tokens * 2 * m.width() * s.latents();
    const auto at_once =
        static_cast<double>(features::encode_rows_at_once(s.study.integer("sae.latents"), m.config.hidden, thread_count()));
    all.unbroken.push_back({cost::Work::screen_bf16, at_once * m.width() * s.latents(), m.width()});
    all.unbroken_seconds = grace;
    auto memory = features::encode_memory(encode_options(s.study, m.model),
                                          {.rows = s.tokens,
                                           .blocks = s.tokens / (static_cast<double>(s.study.integer("extract.batch")) * s.context()) + 1,
                                           .latents = s.latents(),
                                           .d = m.width(),
                                           .value = s.value(),
                                           .active = s.active(),
                                           .ranks = s.ranks,
                                           .layers = s.fused() ? s.of_shard(m.layers) : 1,
                                           .threads = thread_count()});
    if (memory.of_node() > all.memory.of_node()) all.memory = std::move(memory);
  }
  return {all};
}

} // namespace

Stage encode_stage() {
  return {.word = "encode",
          .help = "activations + SAEs -> features.h5",
          .table = "encode",
          .units = "models",
          .command = add_flags,
          .keys_of_flags = {{"--saes", "model.NAME.saes"}},
          .run = run,
          .results = results,
          .plan = plan,
          .checks = {{"encode", check_features}}};
}

} // namespace concord::app
