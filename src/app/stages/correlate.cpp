#include "concord/correlate/correlate.hpp"

#include "concord/comm/agree.hpp"
#include "concord/core/machine/threads.hpp"
#include "concord/corpus/tokenize.hpp"
#include "concord/correlate/memory_plan.hpp"
#include "concord/correlate/null_size.hpp"
#include "concord/extract/extract.hpp"

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
  auto options = std::make_shared<correlate::CorrelateOptions>();
  auto layers = std::make_shared<std::pair<std::string, std::string>>("all", "all");
  auto& flags = command.flags();
  flags.add_option("--a", options->a, "features.h5, a scipy CSR matrix (.npz), or a dense array (.npy)");
  flags.add_option("--b", options->b, "the same for the other model, row for row");
  flags.add_option("--tokens", options->tokens, "tokens.h5, or ids as for extract, for the documents of the null and the token filters");
  flags.add_option("--tokens-b", options->tokens_b, "that of B, where it has a tokenizer of its own");
  auto bos_id = std::make_shared<std::int32_t>(corpus::CorpusSettings{}.bos_id);
  flags.add_option("--bos-id", *bos_id, "of token ids of an array: the id that opens contexts")->capture_default_str();
  flags.add_option("--seed", options->seed, "seed of the features whose null is taken, where that is a sample")->capture_default_str();
  const auto given = add_setting_flags(flags, settings::list_of<correlate::CorrelateSettings>(*options));
  flags.add_option("--layers-a", layers->first, "of A, comma separated; all when left out");
  flags.add_option("--layers-b", layers->second, "of B");
  const auto share = CLI::Range(0.0, 1.0 - 1e-9);
  flags
      .add_option("--shift-a", options->shift_a,
                  "share of the rows by which A's documents are moved, for `graph`: one a model, such as 0, 0.33, 0.67")
      ->check(share);
  flags.add_option("--shift-b", options->shift_b, "the same of B; where the two differ, what chance gives is written")->check(share);
  flags.add_option("--csv", options->csv, "also write the matches as text");
  flags.add_option("--out", options->out, "matches.h5 to write");
  command.without_study([&command, options, layers, bos_id, given] {
    command.need(!options->a.empty() && !options->b.empty() && !options->out.empty(), "--a, --b and --out");
    comm::agree(command.world(), [&] {
      assign_given<correlate::CorrelateSettings>(*options, *given);
      options->layers_a = extract::parse_layers(layers->first);
      options->layers_b = extract::parse_layers(layers->second);
    });
    options->force = command.force();
    options->tokens = corpus::tokens_file(command.world(), options->tokens, *bos_id, options->out.parent_path(), command.force());
    correlate::correlate(command.world(), options->shift_a != options->shift_b
                                              ? correlate::shifted(*options, options->shift_a, options->shift_b)
                                              : *options);
  });
}

void run(const StageRun& run) {
  std::size_t unit = 0;
  for (const auto& pair : run.study.pairs()) {
    if (!run.share.has(unit++)) continue;
    auto o = comm::agreed(run.comm, [&] { return correlate_options(run.study, pair); });
    o.force = run.force;
    correlate::correlate(run.comm, o);
    if (!is_in_triple(run.study, pair)) continue;
    o = comm::agreed(run.comm, [&] { return shifted_options(run.study, pair); });
    o.force = run.force;
    correlate::correlate(run.comm, o);
  }
}

std::vector<StageResult> results(const study::Study& study) {
  const StudyFiles files(study);
  std::vector<StageResult> all;
  for (const auto& pair : study.pairs()) {
    const std::vector<StageInput> reads{{"a", files.features(pair.a).string()}, {"b", files.features(pair.b).string()}};
    all.push_back({named("correlate", pair), files.matches(pair), reads});
    if (is_in_triple(study, pair)) all.push_back({named("correlate shifted", pair), files.shifted(pair), reads});
  }
  return all;
}

MemoryPlan memory_of(const PlanSizes& s, const study::Pair& pair, double layer_pairs) {
  const auto options = correlate_options(s.study, pair);
  const int groups = std::max(1, correlate::groups_for(options, static_cast<Index>(layer_pairs), s.ranks));
  const int ranks = std::max(1, s.ranks / groups);
  auto plan = correlate::correlate_memory(options, {.rows = s.tokens,
                                                    .features_a = s.latents(),
                                                    .features_b = s.latents(),
                                                    .active_a = s.active(),
                                                    .active_b = s.active(),
                                                    .ranks = ranks,
                                                    .on_node = std::min(ranks, s.on_node),
                                                    .threads = thread_count()});
  plan.copies_a_node(s.groups_on_node(ranks));
  return plan;
}

/// What the null of a layer pair takes.
struct NullPlan {
  double passes; ///< over all features, or what takes as long
  double values; ///< of a side
  bool sampled;
};

NullPlan null_plan(const PlanSizes& s) {
  const Index each = s.study.integer("correlate.null_shifts");
  const auto shifts = static_cast<double>(each);
  const Index latents = static_cast<Index>(s.latents());
  const Index least = s.study.integer("correlate.null_features");
  const auto features = static_cast<double>(correlate::null_features(latents, least, each));
  const bool sampled = shifts > 0 && correlate::samples_null(latents, latents, least, each);
  // Of two sides. Rare features, which cost less, are drawn more often: 0.70 to 0.78 of a uniform sample where counts fall with rank^-0.8.
  constexpr double of_uniform = 0.75;
  return {sampled ? 2 * of_uniform * shifts * features / s.latents() : shifts, shifts * features, sampled};
}

/// @param options  of a run over a pair of models
cost::CorrelateSize cost_size(const PlanSizes& s, const study::Pair& pair, const correlate::CorrelateOptions& options, double null_passes,
                              double written) {
  const double a = s.plan_of(pair.a).layers, b = s.plan_of(pair.b).layers;
  return {.layers_a = a,
          .layers_b = b,
          .rows = s.tokens,
          .features_a = s.latents(),
          .features_b = s.latents(),
          .active_a = s.active(),
          .active_b = s.active(),
          .passes = 1 + null_passes,
          .shifts = static_cast<double>(options.null_shifts),
          .best = static_cast<double>(options.best),
          .memory = options.memory_gib * 0x1p30,
          .columns = options.grid_columns,
          .written = written,
          .groups = std::max(1, correlate::groups_for(options, static_cast<Index>(a * b), s.ranks)),
          .on_gpu = options.device == Device::cuda};
}

std::vector<StagePlan> plan(const PlanSizes& s) {
  const double k = s.active();
  const auto null = null_plan(s);
  StagePlan all{"correlate", 0, 0, MemoryPlan("correlate")};
  all.unbroken.push_back({cost::Work::products, s.tokens * k * k / s.latents() / s.ranks});
  all.unbroken_seconds = grace + 8 * s.tokens * (k + 1) / s.ranks / read_a_second;
  for (const auto& pair : s.study.pairs()) {
    const double layer_pairs = s.plan_of(pair.a).layers * s.plan_of(pair.b).layers;
    const bool shifted = is_in_triple(s.study, pair);
    const auto options = correlate_options(s.study, pair);
    const double passes = 1 + null.passes + (shifted ? 1 : 0);
    const double disk = matches_disk(s.disk, layer_pairs, static_cast<double>(s.study.integer("correlate.best")), null.values, null.sampled,
                                     s.study.flag("correlate.matrix"));
    const double of_shifted = shifted ? matches_disk(s.disk, layer_pairs, 2, 0, false, false) : 0;
    all.disk += disk + of_shifted;
    all.flops += 2 * passes * layer_pairs * s.tokens * k * k;
    all.add(cost::correlate_cost(cost_size(s, pair, options, null.passes, disk), s.layout()));
    if (shifted) all.add(cost::correlate_cost(cost_size(s, pair, shifted_options(s.study, pair), 0, of_shifted), s.layout()));
    auto memory = memory_of(s, pair, layer_pairs);
    if (memory.of_all(s.on_node) > all.memory.of_all(s.on_node)) all.memory = std::move(memory);
  }
  return {all};
}

} // namespace

Stage correlate_stage() {
  return {.word = "correlate",
          .help = "features A x features B -> matches.h5",
          .table = "correlate",
          .units = "pairs of models",
          .command = add_flags,
          .keys_of_flags = {{"--seed", "study.seed"}, {"--shift-a", ""}, {"--shift-b", ""}},
          .has_work = has_pairs,
          .run = run,
          .results = results,
          .plan = plan,
          .checks = {{"correlate", check_matches}, {"correlate matrix", check_matrix}}};
}

} // namespace concord::app
