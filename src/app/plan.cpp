#include "concord/app/plan.hpp"

#include "concord/app/stages.hpp"
#include "concord/concepts/concept_lists.hpp"
#include "concord/core/error.hpp"
#include "concord/core/log.hpp"
#include "concord/core/machine/memory.hpp"
#include "concord/core/machine/threads.hpp"
#include "concord/core/text.hpp"
#include "concord/corpus/memory_plan.hpp"
#include "concord/corpus/text/text_files.hpp"
#include "concord/corpus/tokenize.hpp"
#include "concord/correlate/memory_plan.hpp"
#include "concord/extract/memory_plan.hpp"
#include "concord/features/memory_plan.hpp"
#include "concord/io/hdf5.hpp"
#include "concord/model/config.hpp"
#include "concord/model/transformer.hpp"
#include "concord/sae/memory_plan.hpp"
#include "concord/similarity/file_bytes.hpp"
#include "concord/similarity/memory_plan.hpp"
#include "concord/subspaces/carried.hpp"
#include "concord/subspaces/memory_plan.hpp"

#include "app/disk_plan.hpp"
#include <algorithm>
#include <cmath>

namespace concord::app {

using study::Study;

namespace {

/// Headers, provenance and what lies beside: of the files of a stage, however small the study.
constexpr double overhead_of_files = 256 << 10;
constexpr double tokenized_a_second = 1e6; ///< bytes of text, by one thread
constexpr double read_a_second = 1e8;      ///< bytes of a file, by one rank
constexpr double grace = 5;                ///< seconds of a unit of work that is finished first (comm::StopWithin)

struct StagePlan {
  std::string stage;
  double disk = 0; ///< bytes written
  double flops = 0;
  MemoryPlan memory;
  double unbroken_flops = 0;   ///< of a rank, between two looks for the stop signal
  double unbroken_seconds = 0; ///< the same, of what is not arithmetic, and of units that are finished first
};

struct ModelPlan {
  model::ModelConfig config;
  double layers = 0;
  double parameters = 0; ///< of the blocks
};

double text_bytes(const Study& study) {
  std::vector<std::string> paths;
  for (const auto& path : study.list("corpus.paths")) paths.push_back(corpus::pattern_below(study.folder(), path));
  double bytes = 0;
  try {
    for (const auto& file : corpus::find_text_files(paths).files) bytes += static_cast<double>(file.size);
  } catch (const Error&) { // a plan is made before the text is there, too
  }
  return bytes;
}

double token_count(const Study& study) {
  const auto tokens = StudyFiles(study).tokens();
  if (std::filesystem::exists(tokens)) return static_cast<double>(io::File::open(tokens).dataset("/tokens").rows());
  const double estimate = text_bytes(study) / 4.0;
  const auto limit = static_cast<double>(study.integer("corpus.max_tokens"));
  return limit > 0 && (estimate == 0 || limit < estimate) ? limit : estimate;
}

ModelPlan model_plan(const Study& study, const std::string& table) {
  ModelPlan plan;
  plan.config = model::read_config(study.path(table + ".path"));
  const auto layers = extract::parse_layers(join(study.list(table + ".layers"), ","));
  plan.layers = layers.empty() ? plan.config.layers : static_cast<double>(layers.size());
  const auto& c = plan.config;
  plan.parameters = c.layers * static_cast<double>(c.block_parameters());
  return plan;
}

/// What a study asks of memory: sizes that several stages know.
struct Sizes {
  const Study& study;
  int ranks;
  int on_node; ///< ranks of a node
  double tokens;
  bool fused() const { return study.flag("extract.fused"); }
  int shards() const { return std::clamp(static_cast<int>(study.integer("extract.layer_shards")), 1, ranks); }
  /// Layers of a shard.
  int of_shard(double layers) const { return (static_cast<int>(layers) + shards() - 1) / shards(); }
  /// Groups of `size` ranks that a node has.
  int groups_on_node(int size) const { return (on_node + size - 1) / size; }
  double value() const { return static_cast<double>(size_of(parse_dtype(study.text("extract.dtype")))); }
  double latents() const { return static_cast<double>(study.integer("sae.latents")); }
  double active() const { return static_cast<double>(study.integer("sae.k")); }
  double blocks() const { return tokens / static_cast<double>(study.integer("extract.batch") * study.integer("corpus.context")) + 1; }
};

/// Of the shard whose ranks need most.
extract::RankMemory extract_rank_memory(const Sizes& s, char model) {
  auto options = extract_options(s.study, model);
  const auto config = model::read_config(options.model);
  options.layer_shards = std::clamp(options.layer_shards, 1, std::min(s.ranks, config.layers));
  const Index context = s.study.integer("corpus.context");
  const auto contexts = static_cast<Index>(s.tokens) / context + 1;
  extract::RankMemory most;
  for (int shard = 0; shard < options.layer_shards; ++shard) {
    const auto memory = extract::rank_memory(config, options, shard, std::min(contexts, options.batch) * context, context, contexts,
                                             thread_count(), options.device == Device::cuda);
    if (memory.total() + memory.on_device() > most.total() + most.on_device()) most = memory;
  }
  return most;
}

MemoryPlan extract_memory(const Sizes& s, char model) {
  return extract::memory_plan(extract_rank_memory(s, model), std::string("extract ") + model);
}

MemoryPlan train_memory(const Sizes& s, Index d, double layers) {
  auto options = train_options(s.study);
  if (s.fused()) options.order = sae::Order::buffer;
  const int groups = s.fused() ? s.shards() : static_cast<int>(std::max<Index>(1, s.study.integer("sae.groups")));
  sae::TrainingSize size{.rows = s.tokens, .d = d, .value = s.value(), .ranks = std::max(1, s.ranks / groups), .fused = s.fused()};
  size.trainings = 1 + static_cast<int>(s.study.list("sae.variants").size());
  if (s.fused()) size.layers = s.of_shard(layers);
  auto plan = sae::training_memory(options, size);
  plan.copies_a_node(s.groups_on_node(size.ranks));
  return plan;
}

MemoryPlan encode_memory(const Sizes& s, char model, Index d, double layers) {
  return features::encode_memory(encode_options(s.study, model), {.rows = s.tokens,
                                                                  .blocks = s.blocks(),
                                                                  .latents = s.latents(),
                                                                  .d = static_cast<double>(d),
                                                                  .value = s.value(),
                                                                  .active = s.active(),
                                                                  .ranks = s.ranks,
                                                                  .layers = s.fused() ? s.of_shard(layers) : 1});
}

MemoryPlan correlate_memory(const Sizes& s, double pairs) {
  const auto options = correlate_options(s.study);
  const int groups = std::max(1, correlate::groups_for(options, static_cast<Index>(pairs), s.ranks));
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

MemoryPlan compare_memory(const Sizes& s, const double (&width)[2], double pairs) {
  const auto options = compare_options(s.study);
  const int wanted = options.settings.groups;
  const int groups = std::max(1, wanted > 0 ? std::min(wanted, s.ranks) : similarity::groups_for(static_cast<Index>(pairs), s.ranks));
  const int ranks = std::max(1, s.ranks / groups);
  auto plan = similarity::compare_memory(options.settings.spaces, {.matches = s.latents(),
                                                                   .features_a = s.latents(),
                                                                   .features_b = s.latents(),
                                                                   .d_a = width[0],
                                                                   .d_b = width[1],
                                                                   .ranks = ranks,
                                                                   .threads = thread_count()});
  plan.copies_a_node(s.groups_on_node(ranks));
  return plan;
}

/// Concepts and phrases of a study's lists; what data/concepts holds where they cannot be read yet.
std::pair<double, double> concepts_and_phrases(const Study& study) {
  try {
    const comm::Communicator self(MPI_COMM_SELF, boost::mpi::comm_attach);
    const auto lists = concepts::read_concept_lists(self, study.path("subspaces.concepts"));
    return {static_cast<double>(lists.concepts.size()), static_cast<double>(lists.phrases.size())};
  } catch (const Error&) { // a plan is made before the lists are there, too
    return {32, 1300};
  }
}

/// Layers of one model at which effects are measured, of `all`.
double effect_layers(const Study& study, const char* key, double all) {
  const auto layers = extract::parse_layers(join(study.list(key), ","));
  return layers.empty() ? all : std::min(all, static_cast<double>(layers.size()));
}

StagePlan subspaces_plan(const Sizes& s, const ModelPlan (&models)[2]) {
  StagePlan plan{"subspaces", 0, 0, MemoryPlan("subspaces")};
  if (s.study.text("subspaces.concepts").empty()) return plan;
  const auto settings = s.study.stage_settings<subspaces::SubspacesSettings>("subspaces");
  const auto [concepts, phrases] = concepts_and_phrases(s.study);
  subspaces::SubspacesSize size{.concepts = concepts, .phrases = phrases, .layers = 0, .latents = s.latents(), .active = s.active()};
  size.tokens = s.tokens;
  size.context = static_cast<double>(s.study.integer("corpus.context"));
  size.contexts = s.tokens / static_cast<double>(s.study.integer("corpus.context")) + 1;
  size.ranks = s.ranks;
  const double rows = settings.effects ? 6.0 * concepts * static_cast<double>(settings.effect_occurrences * (settings.after + 2)) : 0;
  const double removals = static_cast<double>(settings.effect_bases.size()) * concepts;
  const double carried = subspaces::carried_kinds * concepts / 2; // at half of the rows
  const double pairs = effect_layers(s.study, "subspaces.effect_layers_a", models[0].layers) *
                       effect_layers(s.study, "subspaces.effect_layers_b", models[1].layers) * (settings.carry ? 1 : 0);
  const double added = static_cast<double>(settings.steering.size()) * std::min(4.0 * concepts, removals); // of four kinds
  const double runs = removals * static_cast<double>(settings.removals.size()) + added;
  for (const auto& m : models) {
    const bool is_a = &m == &models[0];
    const double layers = effect_layers(s.study, is_a ? "subspaces.effect_layers_a" : "subspaces.effect_layers_b", m.layers);
    const double head = 2 * static_cast<double>(m.config.vocab * m.config.hidden);
    plan.flops += (layers * runs + pairs * carried) * rows * (m.parameters + head); // half of the blocks lie above a layer
    const double other = static_cast<double>((is_a ? models[1] : models[0]).config.hidden);
    const auto width = static_cast<double>(m.config.hidden);
    const double map_rows = std::min(s.tokens, 2.0 * static_cast<double>(settings.map_rows));
    plan.flops += pairs * map_rows * 4 * (2 * width * width + width * other); // two maps, each pair's moments from both sides
    plan.unbroken_flops = std::max(plan.unbroken_flops, removals * 12 * (2 * m.parameters + head));
    size.layers += m.layers;
    size.heads = std::max(size.heads, static_cast<double>(m.config.heads));
    size.vocabulary = std::max(size.vocabulary, static_cast<double>(m.config.vocab));
    size.d = std::max(size.d, static_cast<double>(m.config.hidden));
    const Dtype compute = parse_dtype(s.study.text("extract.compute"));
    const auto longest = static_cast<double>(s.study.integer("corpus.context"));
    if (settings.effects)
      size.model = std::max(size.model, model::weight_bytes(m.config, {0, m.config.layers, true}, compute, false) +
                                            4 * longest * m.config.layers * static_cast<double>(m.config.qkv_width()));
  }
  const double matrices = 10 * concepts * concepts;
  const double of_effects = 16.0 * static_cast<double>(settings.removals.size()) + 3.0 * static_cast<double>(settings.steering.size());
  plan.disk =
      size.layers * 8 * (matrices * (settings.effects ? 1 + of_effects : 1) + 12 * concepts * static_cast<double>(settings.max_members)) +
      models[0].layers * models[1].layers * (36 * concepts * concepts + 300 * concepts);
  plan.disk += 8 * (size.layers * 6 + 2 * pairs * 3 * subspaces::carried_kinds) * concepts * concepts;
  plan.memory = subspaces::subspaces_memory(settings, size);
  plan.unbroken_seconds = grace;
  return plan;
}

/// Tokens of the vocabulary: of the larger model, since the tokenizer is not read.
double vocabulary(const Study& study) {
  return static_cast<double>(std::max(model_plan(study, "model.a").config.vocab, model_plan(study, "model.b").config.vocab));
}

void add_program(MemoryPlan& plan) {
  plan.begin_phase("");
  plan.each_rank("program, libraries and what a thread of theirs keeps", "170 MiB + 30 MiB (n - 1)",
                 base_memory + thread_memory * (thread_count() - 1));
}

/// Of a corpus that is not tokenized yet: as many as documents of 16 tokens would make.
double context_count(const Sizes& s) {
  const auto tokens = StudyFiles(s.study).tokens();
  if (std::filesystem::exists(tokens)) return static_cast<double>(io::File::open(tokens).dataset("/context_offsets").rows());
  return s.tokens / std::min(16.0, static_cast<double>(s.study.integer("corpus.context"))) + 1;
}

DiskSizes disk_sizes(const Sizes& s, double steps) {
  const double contexts = context_count(s);
  return {.tokens = s.tokens,
          .contexts = contexts,
          .blocks = contexts / static_cast<double>(s.study.integer("extract.batch")) + 1,
          .vocabulary = vocabulary(s.study),
          .latents = s.latents(),
          .active = s.active(),
          .top = static_cast<double>(s.study.integer("encode.top")),
          .steps = steps};
}

std::vector<StagePlan> stage_plans(const Sizes& sizes) {
  const Study& study = sizes.study;
  const double tokens = sizes.tokens;
  const double stored = sizes.value();
  const auto latents = static_cast<double>(study.integer("sae.latents"));
  const auto k = static_cast<double>(study.integer("sae.k"));
  const auto batch = static_cast<double>(study.integer("sae.batch"));
  const double steps = study.integer("sae.steps") > 0 ? static_cast<double>(study.integer("sae.steps"))
                                                      : static_cast<double>(study.integer("sae.rows")) / batch;
  const auto context = static_cast<double>(study.integer("corpus.context"));
  const corpus::TokenizeOptions tokenizing;
  const DiskSizes disk = disk_sizes(sizes, steps);
  std::vector<StagePlan> plans{{"tokenize", tokens_disk(disk), 0,
                                corpus::tokenize_memory(tokenizing.piece_bytes, std::max(text_bytes(study), 4 * tokens), vocabulary(study)),
                                0, static_cast<double>(tokenizing.piece_bytes) / tokenized_a_second}};
  double layers[2] = {0, 0};
  int side = 0;
  double width[2] = {0, 0};
  StagePlan train{"train-sae", 0, 0, MemoryPlan("train-sae")};
  StagePlan encode{"encode", 0, 0, MemoryPlan("encode")};
  for (const char which : {'a', 'b'}) {
    const std::string table = std::string("model.") + which;
    const ModelPlan m = model_plan(study, table);
    const auto d = static_cast<double>(m.config.hidden);
    const double attention = 4.0 * static_cast<double>(m.config.heads * m.config.head_dim) * context * m.config.layers;
    const auto block_rows = std::min(tokens, static_cast<double>(study.integer("extract.batch")) * context);
    const double shards = std::clamp<double>(static_cast<double>(study.integer("extract.layer_shards")), 1, sizes.ranks);
    plans.push_back({std::string("extract ") + which, study.flag("extract.fused") ? 0.0 : activations_disk(disk, m.layers, d, stored),
                     tokens * (2 * m.parameters + attention), extract_memory(sizes, which),
                     block_rows * (2 * m.parameters + attention) / shards});
    width[side] = d;
    layers[side++] = m.layers;
    if (study.text(table + ".saes").empty()) {
      train.disk += saes_disk(disk, m.layers, d);
      train.flops += m.layers * steps * batch * (2 * d * latents + 12 * d * k);
      // A step, or a piece of the held-out rows.
      const double of_group = std::max(1.0, sizes.ranks / static_cast<double>(std::max<Index>(1, study.integer("sae.groups"))));
      train.unbroken_flops = std::max({train.unbroken_flops, batch / of_group * (2 * d * latents + 12 * d * k), 2 * 1024 * d * latents});
      train.unbroken_seconds = grace;
      auto memory = train_memory(sizes, m.config.hidden, m.layers);
      if (memory.of_rank() > train.memory.of_rank()) train.memory = std::move(memory);
    }
    encode.disk += features_disk(disk, m.layers);
    encode.flops += m.layers * tokens * 2 * d * latents;
    const auto at_once = static_cast<double>(features::encode_rows_at_once(study.integer("sae.latents"), m.config.hidden, thread_count()));
    encode.unbroken_flops = std::max(encode.unbroken_flops, at_once * 2 * d * latents);
    encode.unbroken_seconds = grace;
    auto memory = encode_memory(sizes, which, m.config.hidden, m.layers);
    if (memory.of_node() > encode.memory.of_node()) encode.memory = std::move(memory);
  }
  plans.push_back(train);
  plans.push_back(encode);
  const double pairs = layers[0] * layers[1];
  const double passes = 1 + static_cast<double>(study.integer("correlate.null_shifts"));
  // An update of the row accumulator costs about as much as 30 dense operations: it waits for the cache.
  plans.push_back(
      {"correlate",
       matches_disk(disk, pairs, static_cast<double>(study.integer("correlate.best")), passes - 1, study.flag("correlate.matrix")),
       30 * passes * pairs * tokens * k * k, correlate_memory(sizes, pairs), 30 * tokens * k * k / latents / sizes.ranks,
       grace + 8 * tokens * (k + 1) / sizes.ranks / read_a_second});
  const auto permutations = static_cast<double>(study.integer("compare.permutations"));
  const double widest = std::max(width[0], width[1]);
  // Products of rows with rows (RDMs, twice where the keys don't fit), of columns with columns (bases), and one a permutation.
  const double all_permutations = permutations + static_cast<double>(study.integer("compare.stratified_permutations"));
  plans.push_back({"compare", similarity::similarity_file_bytes(compare_options(study).settings.spaces, pairs),
                   pairs * (2 * latents * latents * widest +
                            all_permutations * (2 * latents * widest * widest + 4 * widest * widest * widest + latents * latents) +
                            12 * latents * widest * widest),
                   compare_memory(sizes, width, pairs), std::max(2 * latents * widest * widest, 9 * widest * widest * widest), 0});
  const ModelPlan models[2] = {model_plan(study, "model.a"), model_plan(study, "model.b")};
  plans.push_back(subspaces_plan(sizes, models));
  for (auto& plan : plans) {
    plan.disk += overhead_of_files;
    if (!plan.stage.starts_with("extract")) add_program(plan.memory); // extract counts its own
  }
  return plans;
}

/// Of a training on GPUs, whose ranks train one SAE together.
double gpu_training_memory(const Study& study, Index d, int ranks) {
  ranks = std::max(1, ranks / static_cast<int>(std::max<Index>(1, study.integer("sae.groups"))));
  return sae::gpu_training_bytes(train_options(study), d, ranks);
}

} // namespace

namespace {

void say_arrays(const StagePlan& stage) {
  constexpr double worth_a_line = 1 << 20;
  for (const auto& item : stage.memory.items()) {
    if (item.bytes < worth_a_line) continue;
    const char* holder = item.holder == MemoryItem::Holder::rank ? "a rank" : item.holder == MemoryItem::Holder::node ? "a node" : "rank 0";
    say("  {:<12} {:<11} {:<7} {:>12}  {} = {}{}", stage.stage, item.phase, holder, human_bytes(item.bytes), item.what, item.formula,
        item.may_be_less ? ", at most" : "");
  }
}

nlohmann::json json_of(const StagePlan& stage) {
  constexpr const char* holders[] = {"rank", "node", "root"};
  nlohmann::json items = nlohmann::json::array();
  for (const auto& item : stage.memory.items())
    items.push_back({{"what", item.what},
                     {"formula", item.formula},
                     {"bytes", item.bytes},
                     {"holder", holders[static_cast<int>(item.holder)]},
                     {"phase", item.phase},
                     {"at_most", item.may_be_less}});
  return {{"stage", stage.stage},
          {"disk", stage.disk},
          {"flops", stage.flops},
          {"rank_0", stage.memory.of_rank()},
          {"unbroken_flops", stage.unbroken_flops},
          {"unbroken_seconds", stage.unbroken_seconds},
          {"rank", stage.memory.of_rank(false)},
          {"node", stage.memory.of_node()},
          {"arrays", items}};
}

} // namespace

void print_plan(const Study& study, const PlanOptions& options) {
  require(options.ranks > 0 && options.gflops > 0 && options.write_gbs > 0 && options.ranks_a_node >= 0, ExitCode::usage,
          "--ranks, --gflops and --write-gbs must be positive, --ranks-a-node not negative");
  const int ranks = options.ranks;
  const int on_node = options.ranks_a_node > 0 ? std::min(options.ranks_a_node, ranks) : ranks;
  const Sizes sizes{study, ranks, on_node, token_count(study)};
  const auto plans = stage_plans(sizes);
  if (options.json) {
    nlohmann::json stages = nlohmann::json::array();
    for (const auto& plan : plans) stages.push_back(json_of(plan));
    say("{}", nlohmann::json{{"tokens", sizes.tokens}, {"ranks", ranks}, {"ranks_a_node", on_node}, {"stages", stages}}.dump(2));
    return;
  }
  say("{:.0f} tokens on {} ranks, {} a node, at {:.0f} Gflop/s each, files at {:g} GB/s; upper bounds, since not every latent is matched",
      sizes.tokens, ranks, on_node, options.gflops, options.write_gbs);
  say("results: {}", study.path("study.output").string());
  say("{:<12} {:>12} {:>12} {:>14} {:>14} {:>10} {:>10} {:>10}", "stage", "disk", "flops", "memory a rank", "a node in all", "time",
      "bound by", "stops in");
  double disk = 0;
  double seconds = 0;
  std::vector<std::string> slow_writing;
  for (const auto& plan : plans) {
    const double computing = plan.flops / (options.gflops * 1e9 * ranks);
    const double writing = plan.disk / (options.write_gbs * 1e9);
    const double time = std::max(computing, writing);
    const double unbroken = plan.unbroken_seconds + plan.unbroken_flops / (options.gflops * 1e9);
    say("{:<12} {:>12} {:>12.2e} {:>14} {:>14} {:>10} {:>10} {:>10}", plan.stage, human_bytes(plan.disk), plan.flops,
        human_bytes(plan.memory.of_rank()), human_bytes(plan.memory.of_all(on_node)), human_seconds(time),
        writing > computing ? "writing" : "arithmetic", human_seconds(unbroken));
    if (plan.stage.starts_with("extract") && writing > computing) slow_writing.push_back(plan.stage);
    disk += plan.disk;
    seconds += time;
  }
  say("{:<12} {:>12} {:>12} {:>14} {:>14} {:>10}", "total", human_bytes(disk), "", "", "", human_seconds(seconds));
  if (!slow_writing.empty())
    say("{}: the ranks wait for the file system; fewer layers, fewer tokens or extract.fused = true write less", join(slow_writing, ", "));
  if (options.memory) {
    say("arrays above 1 MiB (docs/memory.md has the symbols):");
    for (const auto& plan : plans) say_arrays(plan);
  }
  if (study.text("extract.device") == "cuda")
    for (const char model : {'a', 'b'})
      say("extract {}: each rank takes {} of its GPU", model, human_bytes(extract_rank_memory(sizes, model).on_device()));
  if (study.text("sae.device") == "cuda")
    for (const char model : {'a', 'b'}) {
      const auto d = model_plan(study, std::string("model.") + model).config.hidden;
      say("train-sae {}: each rank takes {} of its GPU", model, human_bytes(gpu_training_memory(study, d, ranks)));
    }
}

} // namespace concord::app
