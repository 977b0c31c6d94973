#include "concord/subspaces/subspaces.hpp"

#include "concord/comm/agree.hpp"
#include "concord/concepts/concept_lists.hpp"
#include "concord/concepts/mining.hpp"
#include "concord/core/log.hpp"
#include "concord/core/text.hpp"
#include "concord/corpus/tokenize.hpp"
#include "concord/extract/extract.hpp"
#include "concord/model/transformer.hpp"
#include "concord/subspaces/bases/bases.hpp"
#include "concord/subspaces/carried/carried.hpp"
#include "concord/subspaces/memory_plan.hpp"

#include "app/command/command.hpp"
#include "app/command/setting_flags.hpp"
#include "app/plan/plan_sizes.hpp"
#include "app/results/checks/checks.hpp"
#include "app/stages/options.hpp"
#include "app/stages/stages.hpp"
#include <algorithm>
#include <set>

namespace concord::app {
namespace {

using subspaces::SubspacesOptions;

/// Phrases of the corpus that are headed by a concept's word, for a person to edit.
void mine(const Command& command, const SubspacesOptions& o, const std::filesystem::path& out) {
  const auto& world = command.world();
  const auto lists = concepts::read_concept_lists(world, o.settings.concepts, o.settings.fold_case);
  comm::agree(world, [&] {
    std::error_code unreadable; // a folder that cannot be looked into is said when the file is written
    require(world.rank() != 0 || command.force() || !std::filesystem::exists(out, unreadable), ExitCode::config,
            "{} is there already and may have been edited; name another file, or give --force", out.string());
  });
  const auto mined = concepts::mine_phrases(world, o.tokens, lists);
  comm::agree(world, [&] {
    if (world.rank() == 0) concepts::write_mined(out, lists, mined.phrases);
  });
  say("{} phrases of {} candidates in {} words, each at least {} times: {}", mined.phrases.size(), mined.candidates, mined.words,
      mined.min_count, out.string());
}

/// Flags that stand for no member of the options.
struct FurtherFlags {
  std::filesystem::path mined;
  std::int32_t bos_id = corpus::CorpusSettings{}.bos_id;
  std::shared_ptr<GivenSettings> of_model; ///< how the models are run for effects
};

/// Those of the extraction's settings that effects know.
std::vector<settings::Setting> settings_of_model() {
  auto list = settings::list_of(extract::ExtractSettings{});
  std::erase_if(list, [](const auto& setting) {
    const std::set<std::string> kept{"compute", "device", "allow_shared_gpu", "layer_shards"};
    return !kept.contains(setting.name);
  });
  return list;
}

void run_without_study(const Command& command, SubspacesOptions& o, const FurtherFlags& further, const GivenSettings& given) {
  const bool mines = !further.mined.empty();
  comm::agree(command.world(), [&] { assign_given(o.settings, given); });
  command.need(!o.settings.concepts.empty() && !o.tokens.empty() &&
                   (mines || (!o.a.features.empty() && !o.b.features.empty() && !o.out.empty())),
               "--concepts, --tokens and --mine; or --concepts, --tokens, --a, --b, --saes-a, --saes-b and --out");
  o.tokens = corpus::tokens_file(command.world(), o.tokens, further.bos_id, (mines ? further.mined : o.out).parent_path(), command.force());
  if (mines) {
    mine(command, o, further.mined);
    return;
  }
  comm::agree(command.world(), [&] {
    for (auto* side : {&o.a, &o.b}) assign_given<extract::ExtractSettings>(side->model, *further.of_model);
  });
  o.settings.effects = o.settings.effects && (!o.a.model.model.empty() || given.contains("effects"));
  o.settings.residual = o.settings.residual && (!o.a.activations.empty() || given.contains("residual"));
  o.force = command.force();
  subspaces::subspaces(command.world(), o);
}

void add_flags(Command& command) {
  auto options = std::make_shared<SubspacesOptions>();
  auto further = std::make_shared<FurtherFlags>();
  auto& flags = command.flags();
  for (auto [side, inputs] : {std::pair{"a", &options->a}, std::pair{"b", &options->b}}) {
    const std::string of = std::string(" of model ") + side;
    flags.add_option(std::string("--") + side, inputs->features, "features.h5" + of);
    flags.add_option(std::string("--saes-") + side, inputs->saes, "SAEs" + of + ": folder, or a path with {layer}");
    flags.add_option(std::string("--activations-") + side, inputs->activations, "activations.h5" + of + ", for subspaces without features");
    flags.add_option(std::string("--model-") + side, inputs->model.model, "Hugging Face folder" + of + ", for effects");
  }
  flags.add_option("--tokens", options->tokens, "tokens.h5 of both, or ids as for extract");
  flags.add_option("--bos-id", further->bos_id, "of token ids of an array: the id that opens contexts")->capture_default_str();
  further->of_model = add_setting_flags(flags, settings_of_model());
  flags.add_option("--seed", options->seed, "seed of every random number")->capture_default_str();
  flags.add_option("--mine", further->mined, "write the phrases of the corpus that are headed by a concept's word to this .tsv, and end");
  flags.add_option("--out", options->out, "subspaces.h5 to write");
  const auto given = add_setting_flags(flags, settings::list_of(options->settings));
  command.without_study([&command, options, further, given] { run_without_study(command, *options, *further, *given); });
}

bool names_concepts(const study::Study& study) {
  return !study.text("subspaces.concepts").empty();
}

bool has_work(const study::Study& study) {
  return names_concepts(study) && !study.pairs("subspaces.pairs").empty();
}

void run(const StageRun& run) {
  if (!names_concepts(run.study)) {
    log_info("subspaces: the study names no concepts (subspaces.concepts)");
    return;
  }
  std::size_t unit = 0;
  for (const auto& pair : run.study.pairs("subspaces.pairs")) {
    if (!run.share.has(unit++)) continue;
    auto o = comm::agreed(run.comm, [&] { return subspaces_options(run.study, pair); });
    o.force = run.force;
    subspaces::subspaces(run.comm, o);
  }
}

std::vector<StageResult> results(const study::Study& study) {
  const StudyFiles files(study);
  std::vector<StageResult> all;
  for (const auto& pair : study.pairs("subspaces.pairs"))
    all.push_back({.unit = named("subspaces", pair),
                   .path = files.subspaces(pair),
                   .reads = {{"tokens", files.tokens(pair.a).string(), StageInput::Kind::tokens},
                             {"features_a", files.features(pair.a).string()},
                             {"features_b", files.features(pair.b).string()},
                             {"sae_a/", files.saes(pair.a), StageInput::Kind::saes},
                             {"sae_b/", files.saes(pair.b), StageInput::Kind::saes}},
                   .wanted = names_concepts(study),
                   .needed = false});
  return all;
}

/// Concepts and phrases of a study's lists; what data/concepts holds where they cannot be read yet.
std::pair<double, double> concepts_and_phrases(const study::Study& study) {
  try {
    const comm::Communicator self(MPI_COMM_SELF, boost::mpi::comm_attach);
    const auto lists = concepts::read_concept_lists(self, study.path("subspaces.concepts"));
    return {static_cast<double>(lists.concepts.size()), static_cast<double>(lists.phrases.size())};
  } catch (const Error&) { // a plan is made before the lists are there, too
    return {32, 1300};
  }
}

/// Layers of one model at which effects are measured, of `all`.
double effect_layers(const study::Study& study, const char* key, double all) {
  const auto layers = extract::parse_layers(join(study.list(key), ","));
  return layers.empty() ? all : std::min(all, static_cast<double>(layers.size()));
}

/// Bases of a concept that are removed.
double removed_bases(const subspaces::SubspacesSettings& settings) {
  return static_cast<double>(settings.effect_bases.size() + settings.further_bases.size());
}

/// Blocks and their cost at the layers of one model where effects are measured.
double effect_flops(const PlanSizes& s, const subspaces::SubspacesSettings& settings, const ModelPlan& m, const ModelPlan& other,
                    double layers, double pairs, double concepts) {
  const double rows = settings.effects ? 6.0 * concepts * static_cast<double>(settings.effect_occurrences * (settings.after + 2)) : 0;
  const double removals = removed_bases(settings) * concepts;
  const double carried = subspaces::carried_kinds * concepts / 2;                                          // at half of the rows
  const double added = static_cast<double>(settings.steering.size()) * std::min(6.0 * concepts, removals); // of six kinds
  const double of_equal_energy = settings.equal_energy ? 2 * concepts : 0;                                 // beside two kinds
  const double runs = removals * static_cast<double>(settings.removals.size()) + of_equal_energy + added;
  const double head = 2 * static_cast<double>(m.config.vocab * m.config.hidden);
  const double map_rows = std::min(s.tokens, 2.0 * static_cast<double>(settings.map_rows));
  return (layers * runs + pairs * carried) * rows * (m.parameters + head) +              // half of the blocks lie above a layer
         pairs * map_rows * 4 * (2 * m.width() * m.width() + m.width() * other.width()); // two maps, each pair's moments from both sides
}

/// Ranks that share a model for effects.
int shards_of_effects(const PlanSizes& s, const ModelPlan& m) {
  return std::min(s.shards(), m.config.layers);
}

/// The blocks of each.
std::vector<model::LayerRange> shards_of(const PlanSizes& s, const ModelPlan& m) {
  const int shards = shards_of_effects(s, m);
  std::vector<model::LayerRange> all;
  for (int shard = 0; shard < shards; ++shard)
    all.push_back(subspaces::blocks_of_shard(m.config, shards, shard, static_cast<Index>(s.context())));
  return all;
}

/// Grows `size` by what one model brings.
void add_model(const PlanSizes& s, const subspaces::SubspacesSettings& settings, const ModelPlan& m, subspaces::SubspacesSize& size) {
  size.layers += m.layers;
  size.heads = std::max(size.heads, static_cast<double>(m.config.heads));
  size.vocabulary = std::max(size.vocabulary, static_cast<double>(m.config.vocab));
  size.d = std::max(size.d, m.width());
  if (!settings.effects) return;
  const Dtype compute = parse_dtype(s.study.text("extract.compute"));
  for (const auto& blocks : shards_of(s, m)) {
    const double kept = 4 * s.context() * (blocks.end - blocks.first) * static_cast<double>(m.config.qkv_width());
    size.model = std::max(size.model, model::weight_bytes(m.config, blocks, compute, false) + kept);
  }
  size.shards = std::max(size.shards, shards_of_effects(s, m));
}

StagePlan plan_of_pair(const PlanSizes& s, const ModelPlan& a, const ModelPlan& b) {
  StagePlan plan{"subspaces", 0, 0, MemoryPlan("subspaces")};
  const auto settings = s.study.stage_settings<subspaces::SubspacesSettings>("subspaces");
  const auto [concepts, phrases] = concepts_and_phrases(s.study);
  subspaces::SubspacesSize size{.concepts = concepts, .phrases = phrases, .layers = 0, .latents = s.latents(), .active = s.active()};
  size.tokens = s.tokens;
  size.context = s.context();
  size.contexts = s.tokens / s.context() + 1;
  size.ranks = s.ranks;
  const double layers_a = effect_layers(s.study, "subspaces.effect_layers_a", a.layers);
  const double layers_b = effect_layers(s.study, "subspaces.effect_layers_b", b.layers);
  const double pairs = settings.carry ? layers_a * layers_b : 0;
  plan.flops = effect_flops(s, settings, a, b, layers_a, pairs, concepts) + effect_flops(s, settings, b, a, layers_b, pairs, concepts);
  for (const ModelPlan* m : {&a, &b}) {
    const double removals = removed_bases(settings) * concepts;
    const double head = 2 * static_cast<double>(m->config.vocab * m->config.hidden);
    // A stop is heeded shards + 1 contexts later, and one shard may do all the work of a late layer.
    const int shards = shards_of_effects(s, *m);
    const double contexts = shards > 1 ? shards + 1 : 1;
    plan.unbroken.push_back({cost::Work::product_f32, contexts * removals * 12 * (2 * m->parameters + head), m->width()});
    add_model(s, settings, *m, size);
  }
  const subspaces::SubspacesLayers layers{.layers_a = static_cast<int>(a.layers),
                                          .layers_b = static_cast<int>(b.layers),
                                          .effect_layers_a = static_cast<int>(layers_a),
                                          .effect_layers_b = static_cast<int>(layers_b),
                                          .meanings = settings.similarity.empty() ? 0 : static_cast<double>(settings.meaning.size())};
  plan.disk = subspaces::subspaces_bytes(settings, size, layers);
  constexpr double products_meanwhile = 50; // matrix products do so many operations while one of the claim's is done
  plan.flops += products_meanwhile * subspaces::claim_operations(settings, size, layers);
  plan.memory = subspaces::subspaces_memory(settings, size);
  plan.unbroken_seconds = grace;
  if (settings.effects && s.study.text("extract.device") == "cuda") {
    constexpr double words = 4; // of a span
    const double rows = (removed_bases(settings) * concepts + 1) * (words + static_cast<double>(settings.after));
    const Dtype compute = parse_dtype(s.study.text("extract.compute"));
    for (const ModelPlan* m : {&a, &b})
      for (const auto& blocks : shards_of(s, *m)) {
        const double need =
            subspaces::effects_gpu_bytes(m->config, blocks, compute, static_cast<Index>(s.context()), static_cast<Index>(rows));
        plan.of_gpu = std::max(plan.of_gpu, need);
      }
  }
  return plan;
}

std::vector<StagePlan> plan(const PlanSizes& s) {
  StagePlan all{"subspaces", 0, 0, MemoryPlan("subspaces")};
  if (!names_concepts(s.study)) return {all};
  for (const auto& pair : s.study.pairs("subspaces.pairs")) {
    auto one = plan_of_pair(s, s.plan_of(pair.a), s.plan_of(pair.b));
    all.disk += one.disk;
    all.flops += one.flops;
    all.unbroken.insert(all.unbroken.end(), one.unbroken.begin(), one.unbroken.end());
    cost::Phase spans{.name = "spans and maps", .ranks = static_cast<double>(s.ranks)}; // on paper: by its floating point operations alone
    spans.shared = {{cost::Work::product_f32, one.flops, std::min(s.plan_of(pair.a).width(), s.plan_of(pair.b).width())}};
    spans.written = one.disk;
    all.add({spans});
    all.unbroken_seconds = one.unbroken_seconds;
    all.of_gpu = std::max(all.of_gpu, one.of_gpu);
    if (one.memory.of_all(s.on_node) >= all.memory.of_all(s.on_node)) all.memory = std::move(one.memory);
  }
  return {all};
}

} // namespace

Stage subspaces_stage() {
  return {.word = "subspaces",
          .help = "features + concept lists -> subspaces.h5 (concepts, their subspaces, and how these act)",
          .table = "subspaces",
          .units = "pairs of models",
          .command = add_flags,
          .keys_of_flags = {{"--compute", "extract.compute"},
                            {"--device", "extract.device"},
                            {"--allow-shared-gpu", "extract.allow_shared_gpu"},
                            {"--layer-shards", "extract.layer_shards"},
                            {"--seed", "study.seed"}},
          .has_work = has_work,
          .run = run,
          .results = results,
          .plan = plan,
          .checks = {{"subspaces", check_subspaces}}};
}

} // namespace concord::app
