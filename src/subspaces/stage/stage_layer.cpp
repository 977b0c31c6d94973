#include "concord/comm/agree.hpp"
#include "concord/comm/decided.hpp"
#include "concord/core/at.hpp"
#include "concord/core/log.hpp"
#include "concord/core/philox.hpp"
#include "concord/core/run/stopwatch.hpp"
#include "concord/core/text.hpp"
#include "concord/subspaces/spans/long_spans.hpp"

#include "subspaces/acts/equal_energy.hpp"
#include "subspaces/files/removals_file.hpp"
#include "subspaces/members/paper_rule.hpp"
#include "subspaces/stage/stage.hpp"

namespace concord::subspaces {
LayerFeatures Stage::layer_features(const Side& side, int layer, const sae::Sae& sae) const {
  return {&sae.decoder, sae.d, comm::agreed(comm_, [&] { return side.features->statistics(layer).count; })};
}

sae::Sae Stage::load_decoder(const Side& side, int layer) const {
  auto sae = sae::load_sae_on_nodes(comm_, sae::sae_path(side.in.saes, layer), sae::SaePart::decoder);
  comm::agree(comm_, [&] {
    require(sae.latents == side.features->features(layer), ExitCode::bad_data, "{} has {} latents, {} has {} features in layer {}",
            sae::sae_path(side.in.saes, layer).string(), sae.latents, side.in.features.string(), side.features->features(layer), layer);
  });
  return sae;
}

std::shared_ptr<io::RowSource> Stage::rows_of(const Side& side, int layer) const {
  return comm::agreed(comm_,
                      [&] { return std::make_shared<io::RowSource>(side.in.activations.string() + ":/" + layer_name(layer) + "/x"); });
}

const std::vector<std::int32_t>& Stage::long_spans_of(const Side& side, int layer) const {
  const auto [found, added] = side.long_spans.try_emplace(layer);
  if (added && settings_.residual) found->second = long_spans(comm_, *rows_of(side, layer), spans_, settings_.max_norm, stop_);
  return found->second;
}

std::optional<PhraseMeans> Stage::means_of(const Side& side, int layer) const {
  if (!settings_.residual) return std::nullopt;
  return phrase_means(comm_, *rows_of(side, layer), without(spans_, long_spans_of(side, layer)), settings_.row, stop_);
}

std::optional<PhraseMeans> Stage::pseudo_means_of(const Side& side, int layer) const {
  if (!extent_.pseudo) return std::nullopt;
  const auto rows = rows_of(side, layer);
  const auto sinks = long_spans(comm_, *rows, pseudo_.spans, settings_.max_norm, stop_);
  return phrase_means(comm_, *rows, without(pseudo_.spans, sinks), settings_.row, stop_);
}

std::uint64_t Stage::own_seed(const Side& side, int layer) const {
  return Philox(options_.seed, "layer of subspaces", static_cast<std::uint64_t>(side.name), static_cast<std::uint64_t>(layer + 1)).bits(0);
}

std::optional<GivenFeatures> Stage::given_features(const Side& side, int layer) const {
  if (settings_.rule != Rule::paper) return std::nullopt;
  return comm::agreed(comm_, [&] {
    return std::optional(paper_features(*side.features, layer, corpus::TokenTexts(options_.tokens), tokens_->count(), lists_));
  });
}

std::vector<ConceptMembers> Stage::members_of(const Side& side, int layer) {
  const auto values = values_on_spans(side, layer); // of all features; those of members are kept
  const auto given = given_features(side, layer);
  auto members =
      choose_members(comm_, spans_, defined_, values, settings_, options_.seed, given ? &*given : nullptr, stop_, &seconds_.of_members);
  keep_values(side, layer, values, members);
  return members;
}

void Stage::run_layer(io::Output& output, Side& side, Index number) {
  const int layer = side.layers[at(number)];
  LayerResult result;
  result.members = members_of(side, layer);
  const auto sae = load_decoder(side, layer);
  const auto means = means_of(side, layer);
  const auto features = layer_features(side, layer, sae);
  const auto pseudo = pseudo_means_of(side, layer);
  require_width(side, layer, sae.d, means);
  comm::agree(comm_, [&] {
    result.bases = make_bases(spans_, result.members, features, means ? &*means : nullptr, settings_.k, options_.seed,
                              own_seed(side, layer), further_);
    if (pseudo)
      result.bases.of[static_cast<std::size_t>(BasisKind::pseudo)] = phrase_bases(pseudo_.spans, result.members, *pseudo, settings_.k);
  });
  result.effects = EffectMatrices(extent_.concepts);
  LayerActs acts(extent_);
  const auto& at_layers = side.effect_layers;
  if (side.runner && std::find(at_layers.begin(), at_layers.end(), layer) != at_layers.end())
    measure(side, layer, means ? &*means : nullptr, result, acts);
  const auto geometry = geometry_of(side, layer, result);
  comm::agree(comm_, [&] {
    if (!output.writes()) return;
    write_layer(output.file(), extent_, side.name, number, result);
    write_acts(output.file(), extent_, side.name, number, acts, groups_of(lists_), {settings_.permutations, options_.seed});
    write_geometry(output.file(), side.name, number, geometry);
    write_removals(output.file(), side.name, number, result.effects);
  });
}

void Stage::require_width(const Side& side, int layer, Index width, const std::optional<PhraseMeans>& means) const {
  comm::agree(comm_, [&] {
    require(!means || means->d == width, ExitCode::bad_data, "{} has rows of {} numbers in layer {}, the SAE {}",
            side.in.activations.string(), means ? means->d : 0, layer, width);
    require(!side.runner || (side.runner->width() == width && layer < side.runner->layers()), ExitCode::bad_data,
            "{} is a model of width {} with {} layers; the SAE of layer {} has width {}", side.in.model.model.string(),
            side.runner ? side.runner->width() : 0, side.runner ? side.runner->layers() : 0, layer, width);
  });
}

SpanValues Stage::values_on_spans(const Side& side, int layer) const {
  const Stopwatch watch(seconds_.values);
  return span_values(comm_, *side.features, layer, spans_, settings_.value, stop_);
}

void Stage::measure(const Side& side, int layer, const PhraseMeans* means, LayerResult& result, LayerActs& acts) const {
  const auto& too_long = long_spans_of(side, layer);
  const auto kept = without(effect_spans_, too_long);
  if (kept.size() < effect_spans_.size())
    log_info("subspaces: nothing is removed at {} of {} spans of {} {}, whose rows are too long", effect_spans_.size() - kept.size(),
             effect_spans_.size(), side.name, layer_name(layer));
  const EffectPlaces places{spans_, kept, settings_.after};
  if (removes("mean")) {
    result.effects = side.runner->effects(layer, result.bases, removed_, places);
    if (extent_.equal_energy)
      acts.equal = equal_effects(comm_, *side.runner, layer, {*rows_of(side, layer), *means, result, removed_, places}, options_.seed);
    result.effects.kl_of_spans = placed_among(result.effects.kl_of_spans, kept, effect_spans_);
  }
  if (!extent_.resampled && extent_.strengths == 0) return;
  const auto rows = rows_of(side, layer);
  if (extent_.resampled) {
    const auto donors = draw_donors(spans_, kept, too_long, options_.seed);
    const Resampling resampling{donors, *rows};
    acts.resampled = side.runner->effects(layer, result.bases, removed_, places, &resampling);
  }
  if (extent_.strengths == 0) return;
  acts.directions = steering_directions(comm_, *rows, spans_, result.bases, kinds_to_steer(removed_.kinds), settings_.row);
  for (std::size_t i = 0; i < strengths_.size(); ++i)
    acts.steered[i] = side.runner->steered(layer, acts.directions, strengths_[i], first_tokens_, places);
}

LayerGeometry Stage::geometry_of(Side& side, int layer, const LayerResult& result) {
  const Stopwatch watch(seconds_.geometry);
  LayerGeometry geometry;
  std::vector<std::vector<std::int32_t>> members(at(extent_.concepts));
  for (std::size_t c = 0; c < members.size(); ++c)
    for (const Member& member : result.members[c].members) members[c].push_back(member.feature);
  geometry.coactivation = members_together(comm_, *side.features, layer, members, contexts_.offsets, settings_.window);
  if (!settings_.effects) return geometry;
  if (!opening_tokens_) opening_tokens_ = first_tokens(comm_, *tokens_, spans_, static_cast<int>(extent_.concepts));
  if (side.directions.empty()) side.directions = token_directions(comm_, side.in.model.model, opening_tokens_->ids);
  geometry.logits = logit_shares(comm_, *opening_tokens_, side.directions, result.bases);
  return geometry;
}

} // namespace concord::subspaces
