#include "concord/comm/agree.hpp"
#include "concord/core/at.hpp"
#include "concord/core/digest.hpp"
#include "concord/core/fields.hpp"
#include "concord/core/json_text.hpp"
#include "concord/core/text.hpp"

#include "subspaces/stage/stage.hpp"

namespace concord::subspaces {
namespace {

/// The layers of a list, which must be among those there are. @throws Error config.
std::vector<int> wanted_layers(const std::vector<std::string>& list, const std::vector<int>& there, const std::string& key) {
  const auto wanted = extract::parse_layers(join(list, ","));
  if (wanted.empty()) return there;
  for (const int layer : wanted)
    require(std::find(there.begin(), there.end(), layer) != there.end(), ExitCode::config,
            "subspaces.{} names layer {}, which is not among {}", key, layer, nlohmann::json(there).dump());
  return wanted;
}

std::string digest_of_lists(const concepts::ConceptLists& lists) {
  nlohmann::json json = nlohmann::json::array();
  for (const auto& phrase : lists.phrases) {
    const auto& of = lists.concepts[at(phrase.of_concept)];
    json.push_back({of.group, of.name, phrase.text, phrase.weight});
  }
  json.push_back(lists.silent);
  return concord::digest_of(json_text(json));
}

bool named(const std::vector<std::string>& list, BasisKind kind) {
  return std::find(list.begin(), list.end(), name_of(kind)) != list.end();
}

void require_origin(const std::filesystem::path& made, const char* of, const std::string& digest, const std::string& given) {
  const auto file = io::File::open(made);
  const auto inputs = parse_json(file.has_attribute("inputs") ? file.attribute("inputs") : "{}");
  if (!inputs.is_object() || !inputs.contains(of)) return; // made elsewhere
  require(inputs[of] == digest, ExitCode::bad_data, "{} was made from other {} than {}", made.string(), of, given);
}

} // namespace

void Stage::open() {
  require(!lists_.phrases.empty(), ExitCode::bad_data, "{} holds no phrase", settings_.concepts.string());
  tokens_.emplace(options_.tokens);
  contexts_ = corpus::read_contexts(options_.tokens);
  require(
      contexts_.all_paired, ExitCode::bad_data,
      "{} goes with the tokens of other models, and rows that these do not share have no features; subspaces need models of one tokenizer",
      options_.tokens.string());
  for (Side* side : {&a_, &b_}) open_side(*side);
  extent_ = {static_cast<Index>(lists_.concepts.size()), settings_.max_members, a_.layers, b_.layers, settings_.effects};
  plan_bases();
  plan_acts();
  name_inputs();
  require(
      !settings_.carry || (settings_.effects && settings_.residual), ExitCode::config,
      "subspaces.carry needs the effects on both models and their rows: set subspaces.effects and subspaces.residual, or carry = false");
  if (settings_.similarity.empty()) return;
  similarity_ = read_similarity(settings_.similarity, settings_.meaning, lists_);
  key_.inputs["similarity"] = concord::digest_of(nlohmann::json(similarity_).dump());
}

void Stage::open_side(Side& side) {
  side.features.emplace(side.in.features);
  require(side.features->token_hash() == contexts_.hash, ExitCode::bad_data,
          "{} was made of other tokens ({}) than {} ({}): both must come from one corpus and tokenizer", side.in.features.string(),
          side.features->token_hash(), options_.tokens.string(), contexts_.hash);
  const bool of_a = side.name == 'a';
  side.layers = wanted_layers(of_a ? settings_.layers_a : settings_.layers_b, side.features->layers(), of_a ? "layers_a" : "layers_b");
  side.effect_layers = wanted_layers(of_a ? settings_.effect_layers_a : settings_.effect_layers_b, side.layers,
                                     of_a ? "effect_layers_a" : "effect_layers_b");
  require(!settings_.effects || !side.in.model.model.empty(), ExitCode::config,
          "subspaces.effects needs the folder of model {}; without it set subspaces.effects = false", side.name);
  key_.inputs[std::string("features_") + side.name] = side.features->digest();
}

void Stage::name_inputs() {
  key_.stage = "subspaces";
  key_.settings = settings::digest_of(settings_);
  key_.settings["layers_a"] = a_.layers;
  key_.settings["layers_b"] = b_.layers;
  key_.settings["effect_layers_a"] = a_.effect_layers;
  key_.settings["effect_layers_b"] = b_.effect_layers;
  key_.settings["seed"] = options_.seed;
  if (settings_.effects) key_.settings["compute"] = {name_of(options_.a.model.compute), name_of(options_.b.model.compute)};
  key_.inputs["tokens"] = contexts_.hash;
  key_.inputs["token_texts"] = io::stage_digest_of(options_.tokens);
  key_.inputs["concepts"] = digest_of_lists(lists_);
}

void Stage::plan_bases() {
  require(settings_.further_bases.empty() || settings_.residual, ExitCode::config,
          "subspaces.further_bases are made of rows of the residual stream: set subspaces.residual, or further_bases = []");
  for (int number = 0; number < basis_kinds; ++number) {
    const auto kind = static_cast<BasisKind>(number);
    if (named(settings_.further_bases, kind)) further_.push_back(kind);
    if (named(settings_.effect_bases, kind) || named(settings_.further_bases, kind)) removed_.kinds.push_back(kind);
  }
  extent_.pseudo = named(settings_.further_bases, BasisKind::pseudo);
  removed_.concepts = extent_.concepts;
  require(!settings_.effects || !removed_.kinds.empty(), ExitCode::config,
          "subspaces.effect_bases is empty: name subspaces to remove, or set subspaces.effects = false");
}

void Stage::plan_acts() {
  extent_.resampled = removes("resample");
  extent_.equal_energy = settings_.effects && settings_.equal_energy;
  if (settings_.effects) strengths_ = strengths_of(settings_.steering);
  extent_.strengths = static_cast<Index>(strengths_.size());
  require(!settings_.effects || !settings_.removals.empty() || extent_.strengths > 0, ExitCode::config,
          "subspaces.removals is empty: name a removal, or set subspaces.effects = false");
  require(settings_.residual || (!extent_.resampled && extent_.strengths == 0 && !extent_.equal_energy), ExitCode::config,
          "subspaces.removals = resample, subspaces.steering and subspaces.equal_energy take rows from activations.h5: they need "
          "subspaces.residual = true and stored activations");
  require(!extent_.equal_energy || removes("mean"), ExitCode::config,
          "subspaces.equal_energy is a control of removals to the mean: add mean to subspaces.removals");
}

void Stage::require_origins() const {
  comm::agree(comm_, [&] {
    for (const Side* side : {&a_, &b_}) {
      if (settings_.residual)
        require_origin(side->in.features, "activations", io::stage_digest_of(side->in.activations), side->in.activations.string());
      if (settings_.residual && settings_.effects)
        require_origin(side->in.activations, "model", key_.inputs.at(std::string("model_") + side->name), side->in.model.model.string());
    }
  });
}

} // namespace concord::subspaces
