#include "app/plan_sizes.hpp"

#include "concord/app/study_files.hpp"
#include "concord/core/text.hpp"
#include "concord/corpus/text_files.hpp"
#include "concord/corpus/tokenize.hpp"
#include "concord/extract/extract.hpp"
#include "concord/io/hdf5.hpp"

#include <algorithm>

namespace concord::app {

using study::Study;

namespace {

double bytes_of_text(const Study& study) {
  std::vector<std::string> paths;
  for (const auto& path : study.list("corpus.paths")) paths.push_back(corpus::pattern_below(study.folder(), path));
  double bytes = 0;
  try {
    for (const auto& file : corpus::find_text_files(paths).files) bytes += static_cast<double>(file.size);
  } catch (const Error&) { // a plan is made before the text is there, too
  }
  return bytes;
}

bool tokens_are_there(const Study& study) {
  std::error_code error;
  return std::filesystem::exists(StudyFiles(study).tokens(), error);
}

double token_count(const Study& study, double text_bytes) {
  if (tokens_are_there(study)) return static_cast<double>(io::File::open(StudyFiles(study).tokens()).dataset("/tokens").rows());
  const double estimate = text_bytes / 4.0;
  const auto limit = static_cast<double>(study.integer("corpus.max_tokens"));
  return limit > 0 && (estimate == 0 || limit < estimate) ? limit : estimate;
}

/// Of a corpus that is not tokenized yet: as many as documents of 16 tokens would make.
double context_count(const PlanSizes& s) {
  if (tokens_are_there(s.study))
    return static_cast<double>(io::File::open(StudyFiles(s.study).tokens()).dataset("/context_offsets").rows());
  return s.tokens / std::min(16.0, s.context()) + 1;
}

ModelPlan model_plan(const study::Model& model) {
  ModelPlan plan{model, model::read_config(model.path), 0, 0};
  const auto layers = extract::parse_layers(join(model.layers, ","));
  plan.layers = layers.empty() ? plan.config.layers : static_cast<double>(layers.size());
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

PlanSizes plan_sizes(const Study& study, int ranks, int on_node) {
  PlanSizes sizes{
      .study = study, .ranks = ranks, .on_node = on_node, .tokens = 0, .text_bytes = bytes_of_text(study), .models = {}, .disk = {}};
  sizes.tokens = token_count(study, sizes.text_bytes);
  for (const auto& model : study.models()) sizes.models.push_back(model_plan(model));
  sizes.disk = disk_sizes(sizes);
  return sizes;
}

} // namespace concord::app
