#include "concord/app/plan.hpp"

#include "concord/app/stages.hpp"
#include "concord/core/error.hpp"
#include "concord/core/log.hpp"
#include "concord/core/memory.hpp"
#include "concord/core/text.hpp"
#include "concord/core/threads.hpp"
#include "concord/corpus/text_files.hpp"
#include "concord/extract/memory_plan.hpp"
#include "concord/io/hdf5.hpp"
#include "concord/model/config.hpp"
#include "concord/sae/device_step.hpp"

#include <algorithm>
#include <cmath>

namespace concord::app {

using study::Study;

namespace {

/// Headers, provenance and what lies beside: of the files of a stage, however small the study.
constexpr double overhead_of_files = 256 << 10;

struct StagePlan {
  std::string stage;
  double disk = 0; ///< bytes written
  double flops = 0;
  double memory = 0; ///< bytes a rank
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

/// Of the rank that needs most.
extract::RankMemory extract_memory(const Study& study, char model, double tokens, int ranks) {
  auto options = extract_options(study, model);
  const auto config = model::read_config(options.model);
  options.layer_shards = std::clamp(options.layer_shards, 1, std::min(ranks, config.layers));
  const Index context = study.integer("corpus.context");
  const auto contexts = static_cast<Index>(tokens) / context + 1;
  extract::RankMemory most;
  for (int shard = 0; shard < options.layer_shards; ++shard) {
    const auto memory =
        extract::rank_memory(config, options, shard, std::min(contexts, options.batch) * context, context, contexts, thread_count());
    if (memory.total() > most.total()) most = memory;
  }
  return most;
}

std::vector<StagePlan> stage_plans(const Study& study, int ranks) {
  const double tokens = token_count(study);
  const double stored = static_cast<double>(size_of(parse_dtype(study.text("extract.dtype"))));
  const auto latents = static_cast<double>(study.integer("sae.latents"));
  const auto k = static_cast<double>(study.integer("sae.k"));
  const auto batch = static_cast<double>(study.integer("sae.batch"));
  const double steps = study.integer("sae.steps") > 0 ? static_cast<double>(study.integer("sae.steps"))
                                                      : static_cast<double>(study.integer("sae.rows")) / batch;
  const auto context = static_cast<double>(study.integer("corpus.context"));
  std::vector<StagePlan> plans{{"tokenize", 20 * tokens, 0, 25 * tokens}};
  double layers[2] = {0, 0};
  int side = 0;
  StagePlan train{"train-sae"};
  StagePlan encode{"encode"};
  for (const char which : {'a', 'b'}) {
    const std::string table = std::string("model.") + which;
    const ModelPlan m = model_plan(study, table);
    const auto d = static_cast<double>(m.config.hidden);
    const double attention = 4.0 * static_cast<double>(m.config.heads * m.config.head_dim) * context * m.config.layers;
    plans.push_back({std::string("extract ") + which, study.flag("extract.fused") ? 0.0 : tokens * m.layers * d * stored,
                     tokens * (2 * m.parameters + attention), extract_memory(study, which, tokens, ranks).total()});
    layers[side++] = m.layers;
    if (study.text(table + ".saes").empty()) {
      train.disk += m.layers * 8 * latents * d;
      train.flops += m.layers * steps * batch * (2 * d * latents + 12 * d * k);
      const double share = std::min(tokens * d * stored / ranks, study.real("sae.memory_gib") * 0x1p30);
      // Weights; gradients and moments of the rank's latents; rounded weights; rows and errors of a batch, read ahead and at work.
      train.memory = std::max(train.memory, share + 8 * latents * d * (1 + 3.0 / ranks) + latents * d + 24 * batch * d + 25 * tokens);
    }
    encode.disk += (m.layers + 1) * tokens * (8 + 8 * k); // one layer lies twice while it is made
    encode.flops += m.layers * tokens * 2 * d * latents;
    // The SAE in f32 and bf16; rows of a piece; codes of a window and on their way to the file; statistics and top lists.
    encode.memory = std::max(encode.memory, 10 * latents * d + 2048 * (12 * d + 64 * (8 + 8 * k)) + 0x1p26 +
                                                latents * (64 + 40 * static_cast<double>(study.integer("encode.top"))));
  }
  plans.push_back(train);
  plans.push_back(encode);
  const double pairs = layers[0] * layers[1];
  const double passes = 1 + static_cast<double>(study.integer("correlate.null_shifts"));
  const double layer_bytes = tokens * (8 + 8 * k);
  // An update of the row accumulator costs about as much as 30 dense operations: it waits for the cache.
  const double a_feature =
      20 * static_cast<double>(study.integer("correlate.best")) + 16 + 8 * static_cast<double>(study.integer("correlate.null_shifts"));
  plans.push_back({"correlate", pairs * (latents * (2 * a_feature + 62) + 16384), 30 * passes * pairs * tokens * k * k,
                   std::min(4 * layer_bytes / ranks, study.real("correlate.memory_gib") * 0x1p30) +
                       100 * latents * static_cast<double>(study.integer("correlate.best"))});
  const auto permutations = static_cast<double>(study.integer("compare.permutations"));
  const auto width = static_cast<double>(std::max(model_plan(study, "model.a").config.hidden, model_plan(study, "model.b").config.hidden));
  // Products of rows with rows (RDMs, twice where the keys don't fit), of columns with columns (bases), and one a permutation.
  const double all_permutations = permutations + static_cast<double>(study.integer("compare.stratified_permutations"));
  const double rdm_bytes = std::min(14 * latents * latents, study.real("compare.memory_gib") * 0x1p30);
  plans.push_back({"compare", pairs * 16 * permutations * static_cast<double>(study.list("compare.measures").size()),
                   pairs * (2 * latents * latents * width +
                            all_permutations * (2 * latents * width * width + 4 * width * width * width + latents * latents) +
                            12 * latents * width * width),
                   rdm_bytes + 4 * 8 * latents * width});
  for (auto& plan : plans) {
    plan.disk += overhead_of_files;
    if (!plan.stage.starts_with("extract")) plan.memory += base_memory + thread_memory * (thread_count() - 1); // extract counts its own
  }
  return plans;
}

/// Of a training on GPUs, whose ranks train one SAE together.
double gpu_training_memory(const Study& study, Index d, int ranks) {
  sae::ArchitectureSettings s;
  s.kind = study.text("sae.kind");
  s.d = d;
  s.latents = study.integer("sae.latents");
  s.batch = study.integer("sae.batch");
  s.prefixes = static_cast<int>(study.integer("sae.prefixes"));
  s.parts = {d};
  ranks = std::max(1, ranks / static_cast<int>(std::max<Index>(1, study.integer("sae.groups"))));
  const comm::Communicator self(MPI_COMM_SELF, boost::mpi::comm_attach);
  return sae::DeviceStep::bytes(*sae::make_architecture(self, s), s.latents / ranks + 1, s.batch / ranks + 1);
}

} // namespace

void print_plan(const Study& study, int ranks, double gflops) {
  require(ranks > 0 && gflops > 0, ExitCode::usage, "--ranks and --gflops must be positive");
  say("{:.0f} tokens on {} ranks at {:.0f} Gflop/s each; upper bounds, since not every latent is matched", token_count(study), ranks,
      gflops);
  say("results: {}", study.path("study.output").string());
  say("{:<12} {:>12} {:>12} {:>16} {:>10}", "stage", "disk", "flops", "memory a rank", "time");
  double disk = 0;
  double seconds = 0;
  for (const auto& plan : stage_plans(study, ranks)) {
    const double time = plan.flops / (gflops * 1e9 * ranks);
    say("{:<12} {:>12} {:>12.2e} {:>16} {:>10}", plan.stage, human_bytes(plan.disk), plan.flops, human_bytes(plan.memory),
        human_seconds(time));
    disk += plan.disk;
    seconds += time;
  }
  say("{:<12} {:>12} {:>12} {:>16} {:>10}", "total", human_bytes(disk), "", "", human_seconds(seconds));
  for (const char model : {'a', 'b'}) {
    const auto m = extract_memory(study, model, token_count(study), ranks);
    say("extract {}: the largest rank holds program {}, weights {}, forward pass {}, rows on their way {}", model, human_bytes(m.base),
        human_bytes(m.weights), human_bytes(m.working), human_bytes(m.buffers));
  }
  if (study.text("sae.device") == "cuda")
    for (const char model : {'a', 'b'}) {
      const auto d = model_plan(study, std::string("model.") + model).config.hidden;
      say("train-sae {}: each rank takes {} of its GPU", model, human_bytes(gpu_training_memory(study, d, ranks)));
    }
}

} // namespace concord::app
