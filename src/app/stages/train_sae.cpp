#include "concord/comm/agree.hpp"
#include "concord/core/log.hpp"
#include "concord/core/machine/threads.hpp"
#include "concord/core/text.hpp"
#include "concord/fused/train.hpp"
#include "concord/sae/memory_plan.hpp"
#include "concord/sae/sae.hpp"
#include "concord/sae/training/trainings.hpp"

#include "app/command/command.hpp"
#include "app/command/setting_flags.hpp"
#include "app/plan/plan_sizes.hpp"
#include "app/stages/options.hpp"
#include "app/stages/stages.hpp"
#include <algorithm>
#include <charconv>

namespace concord::app {
namespace {

using study::Model;
using study::Study;

void add_flags(Command& command) {
  auto options = std::make_shared<sae::TrainOptions>();
  auto variants = std::make_shared<std::vector<std::string>>();
  auto& flags = command.flags();
  flags.add_option("--activations", options->activations, "X.npy or acts.h5:/layer_003/x");
  flags.add_option("--with", options->with, "the same tokens' activations in another model: train a crosscoder of both");
  flags.add_option("--variant", *variants, "also train this on the same rows: \"k=32\" or \"latents=4096 seed=2\"")
      ->type_size(1)
      ->allow_extra_args(false);
  const auto given = add_setting_flags(flags, settings::list_of<sae::TrainSettings>(*options),
                                       {.also = {{"latents", "--d-sae"}, {"learning_rate", "--lr"}}, .without = {}});
  flags.add_option("--seed", options->seed, "seed of every random number")->capture_default_str();
  flags.add_option("--layer", options->layer, "layer number, for random streams and the SAE's name")->capture_default_str();
  flags.add_option("--out", options->out, "SAELens folder to write");
  command.without_study([&command, options, variants, given] {
    command.need(!options->activations.empty() && !options->out.empty(), "--activations and --out");
    assign_given<sae::TrainSettings>(*options, *given);
    options->force = command.force();
    sae::train_variants(command.world(), *options, *variants);
  });
}

/// The training of one layer of a model.
sae::TrainOptions layer_options(const StageRun& run, const Model& model, int layer) {
  sae::TrainOptions o = train_options(run.study);
  o.activations = run.files.activations(model).string() + ":/" + layer_name(layer) + "/x";
  o.layer = layer;
  o.models = 2; // no two trainings of a study have a seed in common, though rows of their own key their random streams, too
  o.model = model.stream;
  o.seed = 2 * static_cast<std::uint64_t>(run.study.integer("study.seed")) + o.model;
  o.stage_word = named("train-sae", model) + " " + layer_name(layer);
  o.out = sae::sae_path(run.files.saes(model), layer);
  o.force = run.force;
  return o;
}

/// "3:5": layer 3 of A and layer 5 of B.
sae::TrainOptions crosscoder_options(const StageRun& run, const study::Pair& pair, const std::string& words) {
  const std::size_t colon = words.find(':');
  int layers[2] = {0, 0};
  const auto layer = [&](std::size_t begin, std::size_t end, int& number) {
    const auto [stop, error] = std::from_chars(words.data() + begin, words.data() + end, number);
    return error == std::errc() && stop == words.data() + end && begin < end;
  };
  require(colon != std::string::npos && layer(0, colon, layers[0]) && layer(colon + 1, words.size(), layers[1]), ExitCode::config,
          "sae.crosscoders: write \"layer of A:layer of B\", not \"{}\"", words);
  sae::TrainOptions o = layer_options(run, pair.a, layers[0]);
  o.with = run.files.activations(pair.b).string() + ":/" + layer_name(layers[1]) + "/x";
  o.stage_word = fmt::format("train-sae {}", words);
  o.out = run.files.crosscoder(pair, layers[0], layers[1]);
  return o;
}

bool has_work(const Study& study) {
  const auto models = study.models();
  return !study.list("sae.crosscoders").empty() || std::any_of(models.begin(), models.end(), [](const auto& m) { return m.saes.empty(); });
}

void run(const StageRun& run) {
  const Study& study = run.study;
  const auto variants = study.list("sae.variants");
  std::vector<sae::TrainOptions> trainings;
  std::size_t unit = 0;
  for (const auto& model : study.models()) {
    if (!model.saes.empty()) {
      log_info("train-sae {}: the study gives trained SAEs", model.name);
      continue;
    }
    const auto options = [&](int layer) { return layer_options(run, model, layer); };
    if (study.flag("extract.fused")) { // which trains all layers at once
      if (!run.share.has(unit++)) continue;
      auto o = comm::agreed(run.comm, [&] { return extract_options(study, model); });
      o.stage_word = named("train-sae", model);
      fused::train(run.comm, o, options, variants);
      continue;
    }
    for (const int layer : extracted_layers(run.comm, model, run.files))
      if (run.share.has(unit++)) trainings.push_back(options(layer));
  }
  const auto crosscoders = study.list("sae.crosscoders");
  comm::agree(run.comm, [&] {
    require(crosscoders.empty() || !study.flag("extract.fused"), ExitCode::config,
            "sae.crosscoders need the activations of both models in files; they are not trained with extract.fused");
    const auto pairs = study.pairs();
    require(crosscoders.empty() || !pairs.empty(), ExitCode::config,
            "sae.crosscoders are of the first pair of models; this study has none");
    for (const auto& words : crosscoders)
      if (run.share.has(unit++)) trainings.push_back(crosscoder_options(run, pairs.front(), words));
  });
  sae::train_side_by_side(run.comm, trainings, static_cast<int>(study.integer("sae.groups")), variants);
}

MemoryPlan memory_of(const PlanSizes& s, const ModelPlan& m) {
  auto options = train_options(s.study);
  if (s.fused()) options.order = sae::Order::buffer;
  const int groups = s.fused() ? s.shards() : static_cast<int>(std::max<Index>(1, s.study.integer("sae.groups")));
  sae::TrainingSize size{.rows = s.tokens,
                         .d = m.config.hidden,
                         .value = s.value(),
                         .ranks = std::max(1, s.ranks / groups),
                         .threads = thread_count(),
                         .fused = s.fused()};
  size.trainings = 1 + static_cast<int>(s.study.list("sae.variants").size());
  if (s.fused()) size.layers = s.of_shard(m.layers);
  auto plan = sae::training_memory(options, size);
  plan.copies_a_node(s.groups_on_node(size.ranks));
  return plan;
}

/// Of a training on GPUs, whose ranks train one SAE together.
double gpu_memory(const PlanSizes& s, Index d) {
  return sae::gpu_training_bytes(train_options(s.study), d, s.ranks_of_training());
}

cost::TrainingSize training_size(const PlanSizes& s, double trainings, double width) {
  const auto o = train_options(s.study);
  constexpr double most_held_out = 65536;
  return {.trainings = trainings,
          .groups = s.fused() ? 1.0 : static_cast<double>(std::clamp<Index>(s.study.integer("sae.groups"), 1, s.ranks)),
          .variants = 1 + static_cast<double>(s.study.list("sae.variants").size()),
          .rows = s.tokens,
          .row_bytes = s.fused() ? 0 : width * s.value(),
          .memory = o.order == sae::Order::buffer ? 0 : o.memory_gib * 0x1p30,
          .held_out = std::min(most_held_out, o.held_out * s.tokens),
          .steps = s.steps(),
          .batch = s.batch(),
          .latents = s.latents(),
          .active = s.active(),
          .width = width,
          .scalars = o.kind == sae::Kind::gated      ? 3.0
                     : o.kind == sae::Kind::jumprelu ? 2.0
                                                     : 1.0,
          .reproducible = o.reduction == sae::Reduction::reproducible,
          .on_gpu = o.device == Device::cuda};
}

std::vector<StagePlan> plan(const PlanSizes& s) {
  StagePlan all{"train-sae", 0, 0, MemoryPlan("train-sae")};
  for (const auto& m : s.models) {
    if (!m.model.saes.empty()) continue;
    const double of_row = 2 * m.width() * s.latents() + 12 * m.width() * s.active();
    all.disk += saes_disk(s.disk, m.layers, m.width());
    all.flops += m.layers * s.steps() * s.batch() * of_row;
    // A step, or a piece of the held-out rows.
    const double of_group = std::max(1.0, s.ranks / static_cast<double>(std::max<Index>(1, s.study.integer("sae.groups"))));
    all.unbroken.push_back({cost::Work::screen_int8, s.batch() / of_group * s.latents() * m.width(), m.width()});
    all.unbroken.push_back({cost::Work::screen_bf16, 1024 * s.latents() * m.width(), m.width()});
    all.add(cost::training_cost(training_size(s, m.layers, m.width()), s.layout()));
    if (s.fused()) // the model runs as often as the rows are seen
      all.add(cost::extract_cost(forward_size(s, m, s.steps() * s.batch()), s.layout()));
    all.unbroken_seconds = grace;
    auto memory = memory_of(s, m);
    if (memory.of_rank() > all.memory.of_rank()) all.memory = std::move(memory);
    if (s.study.text("sae.device") == "cuda") all.of_gpu = std::max(all.of_gpu, gpu_memory(s, m.config.hidden));
  }
  const auto crosscoders = static_cast<double>(s.study.list("sae.crosscoders").size());
  const auto pairs = s.study.pairs();
  if (crosscoders > 0 && !pairs.empty()) {
    auto size = training_size(s, crosscoders, s.plan_of(pairs.front().a).width() + s.plan_of(pairs.front().b).width());
    size.memory *= 2; // each model's rows by themselves
    all.add(cost::training_cost(size, s.layout()));
  }
  return {all};
}

} // namespace

Stage train_sae_stage() {
  return {.word = "train-sae",
          .help = "activations -> an SAE (SAELens folder), or a crosscoder of two models' activations",
          .table = "sae",
          .units = "SAEs",
          .command = add_flags,
          .keys_of_flags = {{"--variant", "sae.variants"}, {"--seed", "study.seed"}},
          .has_work = has_work,
          .run = run,
          .results = {}, // folders of SAEs, of which encode's files know the digests
          .plan = plan,
          .checks = {}};
}

} // namespace concord::app
