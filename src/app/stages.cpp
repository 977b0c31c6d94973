#include "concord/app/stages.hpp"

#include "concord/comm/decided.hpp"
#include "concord/core/log.hpp"
#include "concord/core/run/heartbeat.hpp"
#include "concord/core/run/provenance.hpp"
#include "concord/core/text.hpp"
#include "concord/corpus/text/text_files.hpp"
#include "concord/corpus/tokenize.hpp"
#include "concord/correlate/correlate.hpp"
#include "concord/extract/extract.hpp"
#include "concord/features/encode.hpp"
#include "concord/fused/encode.hpp"
#include "concord/fused/recovered.hpp"
#include "concord/fused/train.hpp"
#include "concord/io/claim/claim.hpp"
#include "concord/io/hdf5.hpp"
#include "concord/sae/sae.hpp"
#include "concord/sae/training/trainings.hpp"
#include "concord/similarity/compare.hpp"

#include <nlohmann/json.hpp>

#include "app/report.hpp"
#include <algorithm>
#include <charconv>

namespace concord::app {

using study::Study;

StudyFiles::StudyFiles(const Study& study) : output(study.path("study.output")) {}

std::filesystem::path StudyFiles::crosscoder(int layer_a, int layer_b) const {
  return output / "crosscoders" / (layer_name(layer_a) + "_" + layer_name(layer_b));
}

std::string StudyFiles::skyline_saes(const Study& study) const {
  const auto given = study.text("skyline.saes");
  return given.empty() ? (skyline() / "saes").string() : study.location(given);
}

std::string StudyFiles::saes(const Study& study, char model) const {
  const std::string given = study.text(std::string("model.") + model + ".saes");
  return given.empty() ? (folder(model) / "saes").string() : study.location(given);
}

namespace {

constexpr char models[] = {'a', 'b'};

std::string table(char model) {
  return std::string("model.") + model;
}
std::string named(const char* stage, char model) {
  return std::string(stage) + " " + model;
}

void tokenize(const comm::Communicator& comm, const Study& study, const StudyFiles& files, bool force) {
  corpus::TokenizeOptions o{study.stage_settings<corpus::CorpusSettings>("corpus"), {}, {}};
  o.paths.clear(); // patterns, below a folder whose name is none
  for (const auto& path : study.list("corpus.paths")) o.paths.push_back(corpus::pattern_below(study.folder(), path));
  o.out = files.tokens();
  o.force = force;
  corpus::tokenize(comm, o);
}

} // namespace

extract::ExtractOptions extract_options(const Study& study, char model) {
  extract::ExtractOptions o;
  static_cast<extract::ExtractSettings&>(o) = study.stage_settings<extract::ExtractSettings>("extract");
  o.model = study.path(table(model) + ".path");
  require(!o.model.empty(), ExitCode::config, "{}.path is not set: give the folder of the model", table(model));
  o.tokens = StudyFiles(study).tokens();
  o.layers = extract::parse_layers(join(study.list(table(model) + ".layers"), ","));
  o.stage_word = named("extract", model);
  o.out = StudyFiles(study).activations(model);
  return o;
}

sae::TrainOptions train_options(const Study& study) {
  sae::TrainOptions o;
  static_cast<sae::TrainSettings&>(o) = study.stage_settings<sae::TrainSettings>("sae");
  return o;
}

features::EncodeOptions encode_options(const Study& study, char model) {
  const StudyFiles files(study);
  features::EncodeOptions o;
  static_cast<features::EncodeSettings&>(o) = study.stage_settings<features::EncodeSettings>("encode");
  o.activations = files.activations(model);
  o.saes = files.saes(study, model);
  o.stage_word = named("encode", model);
  o.out = files.features(model);
  return o;
}

correlate::CorrelateOptions correlate_options(const Study& study) {
  const StudyFiles files(study);
  correlate::CorrelateOptions o;
  static_cast<correlate::CorrelateSettings&>(o) = study.stage_settings<correlate::CorrelateSettings>("correlate");
  o.a = files.features('a');
  o.b = files.features('b');
  o.tokens = files.tokens();
  o.out = files.matches();
  return o;
}

similarity::CompareOptions compare_options(const Study& study) {
  const StudyFiles files(study);
  similarity::CompareOptions o;
  o.matches = files.matches();
  o.saes_a = files.saes(study, 'a');
  o.saes_b = files.saes(study, 'b');
  o.settings = study.stage_settings<similarity::CompareSettings>("compare");
  o.settings.spaces.seed = static_cast<std::uint64_t>(study.integer("study.seed"));
  o.out = files.similarity();
  return o;
}

subspaces::SubspacesOptions subspaces_options(const Study& study) {
  const StudyFiles files(study);
  subspaces::SubspacesOptions o;
  o.settings = study.stage_settings<subspaces::SubspacesSettings>("subspaces");
  if (study.flag("extract.fused") && o.settings.residual) {
    log_info("subspaces: extract.fused keeps no rows of the residual stream, so its own subspaces are left out");
    o.settings.residual = false;
    o.settings.carry = false;
  }
  for (const char model : models) {
    auto& inputs = model == 'a' ? o.a : o.b;
    inputs = {files.features(model), files.saes(study, model), files.activations(model), extract_options(study, model)};
  }
  o.tokens = files.tokens();
  o.seed = static_cast<std::uint64_t>(study.integer("study.seed"));
  o.out = files.subspaces();
  return o;
}

namespace {

void extract(const comm::Communicator& comm, const Study& study, const StudyFiles& /*files*/, bool force) {
  if (study.flag("extract.fused")) {
    log_info("extract: fused; the model runs inside train-sae and encode");
    return;
  }
  for (const char model : models) {
    auto o = comm::agreed(comm, [&] { return extract_options(study, model); });
    o.force = force;
    extract::extract(comm, o);
  }
}

std::vector<int> extracted_layers(const comm::Communicator& comm, const std::filesystem::path& activations) {
  return comm::decided(comm, [&] { return io::File::open(activations).integers("layers"); });
}

/// The training of one layer of a model.
sae::TrainOptions layer_options(const Study& study, const StudyFiles& files, char model, int layer, bool force) {
  sae::TrainOptions o = train_options(study);
  o.activations = files.activations(model).string() + ":/" + layer_name(layer) + "/x";
  o.layer = layer;
  o.models = 2; // no two trainings of a study have a seed in common, though rows of their own key their random streams, too
  o.model = model == 'b' ? 1 : 0;
  o.seed = 2 * static_cast<std::uint64_t>(study.integer("study.seed")) + static_cast<std::uint64_t>(o.model);
  o.stage_word = named("train-sae", model) + " " + layer_name(layer);
  o.out = sae::sae_path(files.saes(study, model), layer);
  o.force = force;
  return o;
}

/// "3:5": layer 3 of A and layer 5 of B.
sae::TrainOptions crosscoder_options(const Study& study, const StudyFiles& files, const std::string& pair, bool force) {
  const std::size_t colon = pair.find(':');
  int layers[2] = {0, 0};
  const auto layer = [&](std::size_t begin, std::size_t end, int& number) {
    const auto [stop, error] = std::from_chars(pair.data() + begin, pair.data() + end, number);
    return error == std::errc() && stop == pair.data() + end && begin < end;
  };
  require(colon != std::string::npos && layer(0, colon, layers[0]) && layer(colon + 1, pair.size(), layers[1]), ExitCode::config,
          "sae.crosscoders: write \"layer of A:layer of B\", not \"{}\"", pair);
  sae::TrainOptions o = layer_options(study, files, 'a', layers[0], force);
  o.with = files.activations('b').string() + ":/" + layer_name(layers[1]) + "/x";
  o.stage_word = fmt::format("train-sae {}", pair);
  o.out = files.crosscoder(layers[0], layers[1]);
  return o;
}

/// Layers of A with a second SAE; none without a skyline.
std::vector<int> skyline_layers(const comm::Communicator& comm, const Study& study, const StudyFiles& files) {
  const auto list = study.list("skyline.layers");
  if (list.empty()) return {};
  auto layers = comm::agreed(comm, [&] { return extract::parse_layers(join(list, ",")); });
  return layers.empty() ? extracted_layers(comm, files.activations('a')) : layers; // "all"
}

/// A's SAEs of the skyline once more, alike but for the seed.
void train_skyline(const comm::Communicator& comm, const Study& study, const StudyFiles& files, bool force) {
  std::vector<sae::TrainOptions> trainings;
  for (const int layer : skyline_layers(comm, study, files)) {
    trainings.push_back(layer_options(study, files, 'a', layer, force));
    auto& o = trainings.back();
    constexpr std::uint64_t other_seed = 1'000'003;
    o.seed += other_seed;
    o.stage_word = "train-sae skyline " + layer_name(layer);
    o.out = sae::sae_path(files.skyline_saes(study), layer);
  }
  if (trainings.empty() || !study.text("skyline.saes").empty()) return;
  comm::agree(comm, [&] {
    require(study.text("model.a.saes").empty(), ExitCode::config, "model.a.saes are given, so skyline.saes must be, too");
    require(!study.flag("extract.fused"), ExitCode::config,
            "a skyline needs A's activations in a file; it is not trained with extract.fused");
  });
  sae::train_side_by_side(comm, trainings, static_cast<int>(study.integer("sae.groups")), {});
}

void train_sae(const comm::Communicator& comm, const Study& study, const StudyFiles& files, bool force) {
  const auto variants = study.list("sae.variants");
  std::vector<sae::TrainOptions> trainings;
  for (const char model : models) {
    if (!study.text(table(model) + ".saes").empty()) {
      log_info("train-sae {}: the study gives trained SAEs", model);
      continue;
    }
    const auto options = [&](int layer) { return layer_options(study, files, model, layer, force); };
    if (study.flag("extract.fused")) {
      auto o = comm::agreed(comm, [&] { return extract_options(study, model); });
      o.stage_word = named("train-sae", model);
      fused::train(comm, o, options, variants);
      continue;
    }
    for (const int layer : extracted_layers(comm, files.activations(model))) trainings.push_back(options(layer));
  }
  const auto pairs = study.list("sae.crosscoders");
  comm::agree(comm, [&] {
    require(pairs.empty() || !study.flag("extract.fused"), ExitCode::config,
            "sae.crosscoders need the activations of both models in files; they are not trained with extract.fused");
    for (const auto& pair : pairs) trainings.push_back(crosscoder_options(study, files, pair, force));
  });
  sae::train_side_by_side(comm, trainings, static_cast<int>(study.integer("sae.groups")), variants);
  train_skyline(comm, study, files, force);
  if (study.integer("sae.recovered_contexts") <= 0) return;
  for (const char model : models) {
    auto o = comm::agreed(comm, [&] { return extract_options(study, model); });
    o.stage_word = named("recovered", model);
    fused::cross_entropy_recovered(comm, o, {files.saes(study, model), study.integer("sae.recovered_contexts"), files.recovered(model)});
  }
}

void encode(const comm::Communicator& comm, const Study& study, const StudyFiles& files, bool force) {
  for (const char model : models) {
    auto o = encode_options(study, model);
    o.force = force;
    if (study.flag("extract.fused"))
      fused::encode(comm, comm::agreed(comm, [&] { return extract_options(study, model); }), o);
    else
      features::encode(comm, o);
  }
  auto o = encode_options(study, 'a');
  o.force = force;
  o.layers = skyline_layers(comm, study, files);
  if (o.layers.empty()) return;
  o.saes = files.skyline_saes(study);
  o.stage_word = "encode skyline";
  o.out = files.skyline() / "features.h5";
  features::encode(comm, o);
}

void correlate(const comm::Communicator& comm, const Study& study, const StudyFiles& files, bool force) {
  auto o = comm::agreed(comm, [&] { return correlate_options(study); });
  o.force = force;
  correlate::correlate(comm, o);
  o.layers_a = skyline_layers(comm, study, files);
  if (o.layers_a.empty()) return;
  o.stage_word = "correlate skyline";
  o.b = files.skyline() / "features.h5";
  o.out = files.skyline() / "matches.h5";
  correlate::correlate(comm, o);
}

void compare(const comm::Communicator& comm, const Study& study, const StudyFiles& files, bool force) {
  auto o = comm::agreed(comm, [&] { return compare_options(study); });
  o.force = force;
  similarity::compare(comm, o);
  if (study.list("skyline.layers").empty()) return;
  o.stage_word = "compare skyline";
  o.matches = files.skyline() / "matches.h5";
  o.saes_b = files.skyline_saes(study);
  o.out = files.skyline() / "similarity.h5";
  similarity::compare(comm, o);
}

void subspaces(const comm::Communicator& comm, const Study& study, const StudyFiles& /*files*/, bool force) {
  if (study.text("subspaces.concepts").empty()) {
    log_info("subspaces: the study names no concepts (subspaces.concepts)");
    return;
  }
  auto o = comm::agreed(comm, [&] { return subspaces_options(study); });
  o.force = force;
  subspaces::subspaces(comm, o);
}

void report(const comm::Communicator& comm, const Study& study, const StudyFiles& files, bool /*force*/) {
  ReportOptions o;
  o.output = files.output;
  o.name = study.text("study.name");
  o.python = study.text("report.python");
  o.top_matches = study.integer("report.top_matches");
  o.saes_a = files.saes(study, 'a');
  o.saes_b = files.saes(study, 'b');
  const io::Claim claim(comm, files.report());
  comm::agree(comm, [&] {
    if (comm.rank() == 0) run_record().accepted();
  });
  const WaitingOutside another_program;
  make_report(comm, o);
}

} // namespace

const std::vector<Stage>& stages() {
  static const std::vector<Stage> all{{"tokenize", tokenize},   {"extract", extract}, {"train-sae", train_sae}, {"encode", encode},
                                      {"correlate", correlate}, {"compare", compare}, {"subspaces", subspaces}, {"report", report}};
  return all;
}

void run_stage(const comm::Communicator& comm, const std::string& stage, const Study& study, bool force) {
  const StudyFiles files(study);
  run_record().accepted = [path = files.resolved(), text = study.resolved()] {
    make_folder(path.parent_path());
    write_text_shared(path, text);
  };
  const auto found = std::find_if(stages().begin(), stages().end(), [&](const Stage& known) { return known.word == stage; });
  require(found != stages().end(), ExitCode::internal, "no stage {}", stage);
  found->run(comm, study, files, force);
}

} // namespace concord::app
