#include "app/plan/plan_sizes.hpp"

#include "concord/app/study_files.hpp"
#include "concord/core/text.hpp"
#include "concord/corpus/text/text_files.hpp"
#include "concord/corpus/tokenize.hpp"
#include "concord/extract/extract.hpp"
#include "concord/io/hdf5.hpp"
#include "concord/model/transformer.hpp"

#include <algorithm>

namespace concord::app {

using study::Study;

namespace {

void find_text(PlanSizes& sizes) {
  std::vector<std::string> paths;
  for (const auto& path : sizes.study.list("corpus.paths")) paths.push_back(corpus::pattern_below(sizes.study.folder(), path));
  try {
    for (const auto& file : corpus::find_text_files(paths).files) {
      sizes.text_bytes += static_cast<double>(file.size);
      sizes.largest_text = std::max(sizes.largest_text, static_cast<double>(file.size));
    }
  } catch (const Error&) { // a plan is made before the text is there, too
  }
}

/// The tokens of each tokenizer, once all are there; else nothing.
std::vector<io::File> tokens_files(const Study& study) {
  std::vector<io::File> files;
  for (const auto& model : study.tokenized()) {
    const auto path = StudyFiles(study).tokens(model);
    if (std::error_code error; !std::filesystem::exists(path, error)) return {};
    files.push_back(io::File::open(path));
  }
  return files;
}

double token_count(const Study& study, double text_bytes) {
  double most = 0; // of the tokenizer that makes most
  for (const auto& file : tokens_files(study)) most = std::max(most, static_cast<double>(file.dataset("/tokens").rows()));
  if (most > 0) return most;
  const double estimate = text_bytes / 4.0;
  const auto limit = static_cast<double>(study.integer("corpus.max_tokens"));
  return limit > 0 && (estimate == 0 || limit < estimate) ? limit : estimate;
}

/// Of a corpus that is not tokenized yet: as many as documents of 16 tokens would make.
double context_count(const PlanSizes& s) {
  double most = 0;
  for (const auto& file : tokens_files(s.study)) {
    const double tokens = std::max(1.0, static_cast<double>(file.dataset("/tokens").rows()));
    most = std::max(most, static_cast<double>(file.dataset("/context_offsets").rows()) * s.tokens / tokens);
  }
  if (most > 0) return most;
  return s.tokens / std::min(16.0, s.context()) + 1;
}

ModelPlan model_plan(const study::Model& model) {
  ModelPlan plan{model, model::read_config(model.path), 0, 0, 0};
  const auto layers = extract::parse_layers(join(model.layers, ","));
  plan.layers = layers.empty() ? plan.config.layers : static_cast<double>(layers.size());
  plan.run_layers = layers.empty() ? plan.config.layers : *std::max_element(layers.begin(), layers.end()) + 1.0;
  plan.parameters = plan.config.layers * static_cast<double>(plan.config.block_parameters());
  return plan;
}

DiskSizes disk_sizes(const PlanSizes& s) {
  const double contexts = context_count(s);
  return {.tokens = s.tokens,
          .contexts = contexts,
          .blocks = contexts / static_cast<double>(s.study.integer("extract.batch")) + 1,
          .vocabulary = s.vocabulary(),
          .latents = s.latents(),
          .active = s.active(),
          .top = static_cast<double>(s.study.integer("encode.top")),
          .steps = s.steps()};
}

} // namespace

int PlanSizes::shards() const {
  return std::clamp(static_cast<int>(study.integer("extract.layer_shards")), 1, ranks);
}

double PlanSizes::value() const {
  return static_cast<double>(size_of(parse_dtype(study.text("extract.dtype"))));
}

double PlanSizes::steps() const {
  const Index steps = study.integer("sae.steps");
  return steps > 0 ? static_cast<double>(steps) : static_cast<double>(study.integer("sae.rows")) / batch();
}

int PlanSizes::ranks_of_training() const {
  return std::max(1, ranks / static_cast<int>(std::max<Index>(1, study.integer("sae.groups"))));
}

double PlanSizes::vocabulary() const {
  double most = 0;
  for (const auto& m : models) most = std::max(most, static_cast<double>(m.config.vocab));
  return most;
}

cost::ExtractSize forward_size(const PlanSizes& s, const ModelPlan& m, double tokens) {
  const bool loss = s.study.flag("extract.loss");
  const auto context = s.study.integer("corpus.context");
  double flops = loss ? model::head_flops(m.config) : 0;
  for (int layer = 0; layer < (loss ? m.config.layers : static_cast<int>(m.run_layers)); ++layer)
    flops += model::block_flops(m.config, layer, context);
  constexpr double bytes = 2; // of a weight, as models are published
  return {.tokens = tokens,
          .batch_rows = std::min(tokens, static_cast<double>(s.study.integer("extract.batch") * context)),
          .row_flops = flops,
          .width = m.width(),
          .layers = m.layers,
          .model_bytes = bytes * (m.parameters + static_cast<double>(m.config.vocab * m.config.hidden)),
          .shards = std::min(s.shards(), m.config.layers),
          .bf16 = s.study.text("extract.compute") == "bf16",
          .on_gpu = s.study.text("extract.device") == "cuda"};
}

PlanSizes plan_sizes(const Study& study, int ranks, int on_node, double tokens) {
  PlanSizes sizes{.study = study, .ranks = ranks, .on_node = on_node, .tokens = 0, .text_bytes = 0, .models = {}, .disk = {}};
  find_text(sizes);
  if (tokens > 0) sizes.text_bytes = 4 * tokens;
  sizes.tokens = tokens > 0 ? tokens : token_count(study, sizes.text_bytes);
  for (const auto& model : study.models()) sizes.models.push_back(model_plan(model));
  sizes.disk = disk_sizes(sizes);
  return sizes;
}

} // namespace concord::app
