#include "app/stages/options.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/decided.hpp"
#include "concord/core/log.hpp"
#include "concord/core/text.hpp"
#include "concord/extract/extract.hpp"
#include "concord/io/hdf5.hpp"

#include <algorithm>

namespace concord::app {

using study::Model;
using study::Pair;
using study::Study;

extract::ExtractOptions extract_options(const Study& study, const Model& model) {
  extract::ExtractOptions o;
  static_cast<extract::ExtractSettings&>(o) = study.stage_settings<extract::ExtractSettings>("extract");
  require(!model.path.empty(), ExitCode::config, "{}.path is not set: give the folder of the model", model.table);
  o.model = model.path;
  o.tokens = StudyFiles(study).tokens(model);
  o.layers = extract::parse_layers(join(model.layers, ","));
  o.stage_word = named("extract", model);
  o.out = StudyFiles(study).activations(model);
  return o;
}

sae::TrainOptions train_options(const Study& study) {
  sae::TrainOptions o;
  static_cast<sae::TrainSettings&>(o) = study.stage_settings<sae::TrainSettings>("sae");
  return o;
}

features::EncodeOptions encode_options(const Study& study, const Model& model) {
  const StudyFiles files(study);
  features::EncodeOptions o;
  static_cast<features::EncodeSettings&>(o) = study.stage_settings<features::EncodeSettings>("encode");
  o.activations = files.activations(model);
  o.saes = files.saes(model);
  if (!model.is_extracted()) o.layers = extract::parse_layers(join(model.layers, ","));
  o.stage_word = named("encode", model);
  o.out = files.features(model);
  return o;
}

correlate::CorrelateOptions correlate_options(const Study& study, const Pair& pair) {
  const StudyFiles files(study);
  correlate::CorrelateOptions o;
  static_cast<correlate::CorrelateSettings&>(o) = study.stage_settings<correlate::CorrelateSettings>("correlate");
  o.a = files.features(pair.a);
  o.b = files.features(pair.b);
  o.tokens = files.tokens(pair.a);
  if (pair.b.tokens != pair.a.tokens) o.tokens_b = files.tokens(pair.b);
  o.seed = static_cast<std::uint64_t>(study.integer("study.seed"));
  o.stage_word = named("correlate", pair);
  o.out = files.matches(pair);
  return o;
}

correlate::CorrelateOptions shifted_options(const Study& study, const Pair& pair) {
  const auto models = static_cast<double>(study.models().size());
  auto o = correlate::shifted(correlate_options(study, pair), pair.a.number / models, pair.b.number / models);
  o.stage_word = named("correlate shifted", pair);
  o.out = StudyFiles(study).shifted(pair);
  return o;
}

graph::GraphOptions graph_options(const Study& study) {
  const StudyFiles files(study);
  graph::GraphOptions o;
  for (const auto& model : study.models()) {
    o.models.push_back(model.name);
    o.streams.push_back(model.extracted.string());
  }
  for (const auto& pair : study.pairs()) o.pairs.push_back({pair.a.number, pair.b.number, files.matches(pair), files.shifted(pair)});
  const auto kept = graph::triples(o);
  std::erase_if(o.pairs, [&](const auto& pair) { return !graph::is_in(kept, pair.a, pair.b); });
  o.out = files.graph();
  return o;
}

bool has_pairs(const Study& study) {
  return !study.pairs().empty();
}

bool is_in_triple(const Study& study, const Pair& pair) {
  return graph::is_in(graph::triples(graph_options(study)), pair.a.number, pair.b.number);
}

similarity::CompareOptions compare_options(const Study& study, const Pair& pair) {
  const StudyFiles files(study);
  similarity::CompareOptions o;
  o.matches = files.matches(pair);
  o.saes_a = files.saes(pair.a);
  o.saes_b = files.saes(pair.b);
  o.settings = study.stage_settings<similarity::CompareSettings>("compare");
  o.settings.spaces.seed = static_cast<std::uint64_t>(study.integer("study.seed"));
  o.stage_word = named("compare", pair);
  o.out = files.similarity(pair);
  return o;
}

subspaces::SubspacesOptions subspaces_options(const Study& study, const Pair& pair) {
  const StudyFiles files(study);
  subspaces::SubspacesOptions o;
  o.settings = study.stage_settings<subspaces::SubspacesSettings>("subspaces");
  if (study.flag("extract.fused") && o.settings.residual) {
    log_info("subspaces: extract.fused keeps no rows of the residual stream, so its own subspaces are left out");
    o.settings.residual = false;
    o.settings.carry = false;
  }
  const auto inputs = [&](const Model& model) {
    return subspaces::ModelInputs{files.features(model), files.saes(model), files.activations(model), extract_options(study, model)};
  };
  o.a = inputs(pair.a);
  o.b = inputs(pair.b);
  o.tokens = files.tokens(pair.a);
  o.seed = static_cast<std::uint64_t>(study.integer("study.seed"));
  o.stage_word = named("subspaces", pair);
  o.out = files.subspaces(pair);
  return o;
}

std::string named(const char* stage, const Model& model) {
  return std::string(stage) + " " + model.name;
}

std::string named(const char* stage, const Pair& pair) {
  return pair.name.empty() ? stage : std::string(stage) + " " + pair.name;
}

std::vector<int> extracted_layers(const comm::Communicator& comm, const Model& model, const StudyFiles& files) {
  const auto there = comm::decided(comm, [&] { return io::File::open(files.activations(model)).integers("layers"); });
  if (model.is_extracted()) return there; // by its own settings
  const auto wanted = comm::agreed(comm, [&] { return extract::parse_layers(join(model.layers, ",")); });
  comm::agree(comm, [&] {
    for (const int layer : wanted)
      require(std::find(there.begin(), there.end(), layer) != there.end(), ExitCode::config,
              "{}.layers names layer {}, which {} does not hold", model.table, layer, files.activations(model).string());
  });
  return wanted.empty() ? there : wanted;
}

} // namespace concord::app
