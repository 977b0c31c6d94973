#include "concord/fused/recovered.hpp"

#include "concord/comm/agree.hpp"

#include "app/command/command.hpp"
#include "app/command/model_flags.hpp"
#include "app/stages/options.hpp"
#include "app/stages/stages.hpp"

namespace concord::app {
namespace {

void add_flags(Command& command) {
  ModelFlags model(command.flags(), {"dtype", "loss", "compress", "commit_seconds"});
  auto options = std::make_shared<fused::RecoveredOptions>();
  auto& flags = command.flags();
  flags.add_option("--saes", options->saes, "folder of layer_LLL folders, or a path with {layer}");
  flags.add_option("--contexts", options->contexts, "contexts to run, evenly over the corpus")
      ->check(CLI::Range(Index{1}, Index{1} << 40))
      ->capture_default_str();
  flags.add_option("--out", options->out, "JSON to write");
  command.without_study([&command, model, options]() mutable {
    auto& o = model.options();
    command.need(!o.model.empty() && !o.tokens.empty() && !options->saes.empty() && !options->out.empty(),
                 "--model, --tokens, --saes and --out");
    o.stage_word = "recovered";
    model.take(command.world(), options->out, command.force());
    fused::cross_entropy_recovered(command.world(), o, *options);
  });
}

bool has_work(const study::Study& study) {
  return study.integer("sae.recovered_contexts") > 0;
}

void run(const StageRun& run) {
  if (!has_work(run.study)) return;
  const Index contexts = run.study.integer("sae.recovered_contexts");
  std::size_t unit = 0;
  for (const auto& model : run.study.models()) {
    if (!run.share.has(unit++)) continue;
    auto o = comm::agreed(run.comm, [&] { return extract_options(run.study, model); });
    o.stage_word = named("recovered", model);
    fused::cross_entropy_recovered(run.comm, o, {run.files.saes(model), contexts, run.files.recovered(model)});
  }
}

} // namespace

Stage recovered_stage() {
  return {.word = "recovered",
          .help = "cross-entropy of a model with the reconstructions of its SAEs spliced in",
          .table = "sae",
          .units = "models",
          .command = add_flags,
          .keys_of_flags = {{"--contexts", "sae.recovered_contexts"},
                            {"--model", "model.NAME.path"},
                            {"--layers", "model.NAME.layers"},
                            {"--saes", "model.NAME.saes"}},
          .has_work = has_work,
          .run = run,
          .results = {}, // recovered.json, which names its own inputs
          .plan = {},
          .checks = {}};
}

} // namespace concord::app
