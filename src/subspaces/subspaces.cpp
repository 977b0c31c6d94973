#include "concord/subspaces/subspaces.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/decided.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/digest.hpp"
#include "concord/core/json_text.hpp"
#include "concord/core/log.hpp"
#include "concord/core/machine/memory.hpp"
#include "concord/core/philox.hpp"
#include "concord/core/progress.hpp"
#include "concord/core/run/stopwatch.hpp"
#include "concord/core/text.hpp"
#include "concord/corpus/tokens.hpp"
#include "concord/features/features.hpp"
#include "concord/io/output.hpp"
#include "concord/model/weights.hpp"
#include "concord/sae/sae.hpp"
#include "concord/subspaces/long_spans.hpp"

#include "subspaces/acts_file.hpp"
#include "subspaces/carried_stage.hpp"
#include "subspaces/claim_tests.hpp"
#include "subspaces/coactivation.hpp"
#include "subspaces/geometry.hpp"
#include "subspaces/headline.hpp"
#include "subspaces/logit_attribution.hpp"
#include "subspaces/model_runner.hpp"
#include "subspaces/paper_rule.hpp"
#include "subspaces/removals_file.hpp"
#include "subspaces/result_file.hpp"
#include <algorithm>
#include <optional>
#include <tuple>

namespace concord::subspaces {
namespace {

std::size_t at(Index i) {
  return static_cast<std::size_t>(i);
}

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

/// One of the two models.
struct Side {
  Side(char side_name, const ModelInputs& inputs) : name(side_name), in(inputs) {}
  char name;
  const ModelInputs& in;
  std::optional<features::FeaturesFile> features;
  std::vector<int> layers;
  std::vector<int> effect_layers;
  std::unique_ptr<ModelRunner> runner;
  mutable std::map<int, std::vector<std::int32_t>> long_spans; ///< of a layer, once they were looked for
  std::vector<double> directions;                              ///< of the first tokens of words (token_directions())
};

class Stage {
public:
  Stage(const comm::Communicator& comm, const SubspacesOptions& options)
      : comm_(comm), options_(options), settings_(options.settings), a_('a', options.a), b_('b', options.b),
        lists_(concepts::read_concept_lists(comm, options.settings.concepts, options.settings.fold_case)) {
    comm::agree(comm_, [&] { open(); });
    for (Side* side : {&a_, &b_}) {
      if (settings_.effects) side->runner = std::make_unique<ModelRunner>(comm_, side->in.model, *tokens_);
      for (const int layer : side->layers)
        key_.inputs[fmt::format("sae_{}/{}", side->name, layer_name(layer))] = sae::sae_digest(comm_, sae::sae_path(side->in.saes, layer));
      if (settings_.effects) key_.inputs[std::string("model_") + side->name] = model::model_digest(comm_, side->in.model.model);
    }
  }

  void run() {
    const auto claim = io::claim_unless_done(comm_, options_.out, key_, options_.force);
    if (!claim) {
      log_info("subspaces: {} is done", options_.out.string());
      return;
    }
    find_spans();
    require_origins();
    io::Output output(comm_, options_.out, key_, io::Output::Writers::root, options_.force, bytes(), [&](io::File& file) {
      lay_out(file, extent_);
      write_concepts(file, lists_, counts_, defined_);
      file.write("/concepts/together", together_, {extent_.concepts, extent_.concepts});
      lay_out_geometry(file, extent_);
      if (settings_.carry) lay_out_carried(file, carried_pairs(), extent_.concepts);
      file.write("/concepts/dealt", dealt_, {extent_.concepts, extent_.concepts});
      if (!settings_.effects) return;
      for (const auto& [name, matrix] : similarity_) file.write("/similarity/" + name, matrix, {extent_.concepts, extent_.concepts});
      lay_out_removals(file, extent_, spans_, effect_spans_);
      const std::vector<double> nothing(at(span_sets * basis_kinds * extent_.pairs()), std::numeric_limits<double>::quiet_NaN());
      for (const auto& name : claim_datasets(similarity_)) file.write(name, nothing, {span_sets, basis_kinds, extent_.pairs()});
      lay_out_acts(file, extent_, similarity_, strengths_, first_tokens_);
      for (const auto& name : headline_datasets()) file.create_dataset(name, {span_sets, basis_kinds, extent_.pairs()}, Dtype::f64);
    });
    const Index units = units_before_carrying() + directions * static_cast<Index>(carried_pairs().size()) / 2;
    Progress progress(options_.stage_word, units, "units", output.units_done());
    for (Index unit = output.units_done(); unit < units; ++unit) {
      stop_ = comm::StopWithin();
      run_unit(output, unit);
      output.commit(unit + 1);
      progress.update(unit + 1);
      if (unit + 1 < units && comm::stop_requested(comm_)) comm::throw_stopped("subspaces");
    }
    output.finish();
    say_stage_ok(options_.stage_word, progress.seconds(),
                 fmt::format("concepts={} spans={} layers={} pairs={} occurrences={:.3f} values={:.3f} membership={:.3f} members={:.3f} "
                             "alike={:.3f} peak={}",
                             defined_count(), spans_.size(), extent_.layers(), extent_.pairs(), longest(seconds_.occurrences),
                             longest(seconds_.values), longest(seconds_.of_members.membership), longest(seconds_.of_members.members),
                             longest(seconds_.alike), human_bytes(longest(peak_memory()))),
                 options_.out.string());
  }

private:
  void open() {
    require(!lists_.phrases.empty(), ExitCode::bad_data, "{} holds no phrase", settings_.concepts.string());
    tokens_.emplace(options_.tokens);
    contexts_ = corpus::read_contexts(options_.tokens);
    for (Side* side : {&a_, &b_}) {
      side->features.emplace(side->in.features);
      require(side->features->token_hash() == contexts_.hash, ExitCode::bad_data,
              "{} was made of other tokens ({}) than {} ({}): both must come from one corpus and tokenizer", side->in.features.string(),
              side->features->token_hash(), options_.tokens.string(), contexts_.hash);
      const bool of_a = side->name == 'a';
      side->layers =
          wanted_layers(of_a ? settings_.layers_a : settings_.layers_b, side->features->layers(), of_a ? "layers_a" : "layers_b");
      side->effect_layers = wanted_layers(of_a ? settings_.effect_layers_a : settings_.effect_layers_b, side->layers,
                                          of_a ? "effect_layers_a" : "effect_layers_b");
      require(!settings_.effects || !side->in.model.model.empty(), ExitCode::config,
              "subspaces.effects needs the folder of model {}; without it set subspaces.effects = false", side->name);
      key_.inputs[std::string("features_") + side->name] = side->features->digest();
    }
    extent_ = {static_cast<Index>(lists_.concepts.size()), settings_.max_members, a_.layers, b_.layers, settings_.effects};
    plan_acts();
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
    for (const BasisKind kind : {BasisKind::sae, BasisKind::residual, BasisKind::random, BasisKind::matched, BasisKind::dealt})
      if (std::find(settings_.effect_bases.begin(), settings_.effect_bases.end(), name_of(kind)) != settings_.effect_bases.end())
        removed_.kinds.push_back(kind);
    removed_.concepts = extent_.concepts;
    require(!settings_.effects || !removed_.kinds.empty(), ExitCode::config,
            "subspaces.effect_bases is empty: name subspaces to remove, or set subspaces.effects = false");
    require(
        !settings_.carry || (settings_.effects && settings_.residual), ExitCode::config,
        "subspaces.carry needs the effects on both models and their rows: set subspaces.effects and subspaces.residual, or carry = false");
    if (!settings_.similarity.empty()) {
      similarity_ = read_similarity(settings_.similarity, settings_.meaning, lists_);
      key_.inputs["similarity"] = concord::digest_of(nlohmann::json(similarity_).dump());
    }
  }

  /// Whether a removal of that kind is measured.
  bool removes(const char* what) const {
    return settings_.effects && std::find(settings_.removals.begin(), settings_.removals.end(), what) != settings_.removals.end();
  }

  void plan_acts() {
    extent_.resampled = removes("resample");
    if (settings_.effects) strengths_ = strengths_of(settings_.steering);
    extent_.strengths = static_cast<Index>(strengths_.size());
    require(!settings_.effects || !settings_.removals.empty() || extent_.strengths > 0, ExitCode::config,
            "subspaces.removals is empty: name a removal, or set subspaces.effects = false");
    require(settings_.residual || (!extent_.resampled && extent_.strengths == 0), ExitCode::config,
            "subspaces.removals = resample and subspaces.steering take rows from activations.h5: they need subspaces.residual = true and "
            "stored activations");
  }

  double bytes() const {
    const auto c = static_cast<double>(extent_.concepts);
    const double of_act = span_sets * basis_kinds * halves * c * c * 8;
    const double removals = 4 * static_cast<double>(effect_spans_.size()) * basis_kinds * c;
    const double effects = (extent_.effects ? 4 * of_act + removals : 0) + (extent_.resampled ? 4 * of_act : 0) +
                           static_cast<double>(extent_.strengths) * (of_act + basis_kinds * 5 * 8);
    const double layer = c * static_cast<double>(extent_.members) * 100 + basis_kinds * c * c * 8 + effects;
    const double carried = settings_.carry ? carried_bytes(static_cast<Index>(carried_pairs().size()) / 2, extent_.concepts) : 0;
    return (1 << 20) + carried + geometry_bytes(extent_) + static_cast<double>(extent_.layers()) * layer +
           static_cast<double>(extent_.pairs()) * (c * c * 36 + c * 300 + 4096);
  }

  /// The activations and the models must be those that the features were made from, as far as the files say; so their digests need not be
  /// inputs, and activations may go once this stage is done.
  void require_origins() const {
    comm::agree(comm_, [&] {
      for (const Side* side : {&a_, &b_}) {
        if (settings_.residual)
          require_origin(side->in.features, "activations", io::stage_digest_of(side->in.activations), side->in.activations.string());
        if (settings_.residual && settings_.effects)
          require_origin(side->in.activations, "model", key_.inputs.at(std::string("model_") + side->name), side->in.model.model.string());
      }
    });
  }

  static void require_origin(const std::filesystem::path& made, const char* of, const std::string& digest, const std::string& given) {
    const auto file = io::File::open(made);
    const auto inputs = nlohmann::json::parse(file.has_attribute("inputs") ? file.attribute("inputs") : "{}", nullptr, false);
    if (!inputs.is_object() || !inputs.contains(of)) return; // made elsewhere
    require(inputs[of] == digest, ExitCode::bad_data, "{} was made from other {} than {}", made.string(), of, given);
  }

  /// Over the ranks.
  double longest(double of_rank) const { return comm::max_of(comm_, of_rank); }

  Index defined_count() const {
    return std::count_if(defined_.begin(), defined_.end(), [](const ConceptSpans& c) { return c.defined; });
  }

  /// Occurrences, and the spans that are looked at. Says what does not occur.
  void find_spans() {
    const Stopwatch watch(seconds_.occurrences);
    const auto occurrences = concepts::find_occurrences(comm_, options_.tokens, lists_, stop_);
    counts_ = concepts::count_occurrences(comm_, lists_, occurrences);
    together_ = words_together(comm_, occurrences, lists_, contexts_.offsets, settings_.window);
    const auto families = phrase_families(lists_);
    std::vector<Span> mine;
    mine.reserve(occurrences.size());
    for (const auto& occurrence : occurrences) {
      Span span;
      span.begin = occurrence.first_row;
      span.end = occurrence.end_row;
      span.document = occurrence.document;
      span.phrase = occurrence.phrase;
      span.family = families[at(occurrence.phrase)];
      span.kind = occurrence.kind;
      span.concept_number = static_cast<std::int32_t>(lists_.phrases[at(occurrence.phrase)].of_concept);
      mine.push_back(span);
    }
    spans_ = choose_spans(comm_, mine, {contexts_.offsets, contexts_.document},
                          {options_.seed, static_cast<Index>(lists_.phrases.size()), settings_.phrase_occurrences});
    dealt_ = dealt_counts(spans_, extent_.concepts, options_.seed);
    defined_ = concept_spans(spans_, static_cast<int>(lists_.concepts.size()), settings_);
    effect_spans_ = effect_spans(spans_, settings_.effect_occurrences, options_.seed);
    std::erase_if(effect_spans_, [&](std::int32_t number) { return !defined_[at(spans_[at(number)].concept_number)].defined; });
    if (extent_.resampled) donors_ = draw_donors(spans_, effect_spans_, options_.seed);
    if (extent_.strengths > 0) first_tokens_ = concept_tokens(comm_, *tokens_, spans_, extent_.concepts);
    say_what_is_missing();
    comm::agree(comm_, [&] {
      require(
          defined_count() > 0, ExitCode::bad_data,
          "no concept of {} has the {} occurrences and {} phrases that are asked for (subspaces.min_occurrences, min_phrases); the corpus "
          "holds {} occurrences of all",
          settings_.concepts.string(), settings_.min_occurrences, settings_.min_phrases, counts_.total);
    });
  }

  void say_what_is_missing() const {
    const auto never = concepts::never_occurring(counts_);
    std::vector<std::string> some;
    for (std::size_t i = 0; i < std::min<std::size_t>(never.size(), 10); ++i) some.push_back(lists_.phrases[at(never[i])].text);
    if (!never.empty())
      log_info("subspaces: {} of {} phrases never occur ({}{})", never.size(), lists_.phrases.size(), join(some, ", "),
               never.size() > some.size() ? ", ..." : "");
    for (std::size_t c = 0; c < defined_.size(); ++c)
      if (!defined_[c].defined)
        log_warn("subspaces: {} is left undefined: {} occurrences of {} phrases", lists_.concepts[c].name, defined_[c].occurrences,
                 defined_[c].phrases);
    for (const auto& shared : lists_.shared)
      if (shared.kept_by < 0) log_info("subspaces: \"{}\" stands in several concepts and is left out of all", shared.text);
  }

  void run_unit(io::Output& output, Index unit) {
    const auto layers_a = static_cast<Index>(a_.layers.size());
    if (unit == layers_a && a_.runner) a_.runner->release(); // a model at a time
    if (unit == layers_a) a_.directions = {};
    if (unit == extent_.layers() && b_.runner) b_.runner->release();
    if (unit < extent_.layers())
      run_layer(output, unit < layers_a ? a_ : b_, unit < layers_a ? unit : unit - layers_a);
    else if (unit < extent_.layers() + extent_.pairs())
      run_pair(output, unit - extent_.layers());
    else if (unit < extent_.layers() + extent_.pairs() + families())
      run_family(output, unit - extent_.layers() - extent_.pairs());
    else if (unit + 1 < units_before_carrying())
      run_other_claims(output);
    else if (unit < units_before_carrying())
      run_headline(output);
    else
      run_carried(output, unit - units_before_carrying());
  }

  Index units_before_carrying() const { return extent_.layers() + extent_.pairs() + families() + 2; }
  Index families() const { return settings_.effects ? static_cast<Index>(claim_families(removed_).size()) : 0; }

  /// Layers of A and of B whose subspaces are carried, a pair after the other.
  std::vector<std::int32_t> carried_pairs() const {
    std::vector<std::int32_t> pairs;
    for (const int a : a_.effect_layers)
      for (const int b : b_.effect_layers)
        if (settings_.carry) pairs.insert(pairs.end(), {a, b});
    return pairs;
  }

  LayerFeatures layer_features(const Side& side, int layer, const sae::Sae& sae) const {
    return {&sae.decoder, sae.d, comm::agreed(comm_, [&] { return side.features->statistics(layer).count; })};
  }

  sae::Sae load_decoder(const Side& side, int layer) const {
    auto sae = sae::load_sae_on_nodes(comm_, sae::sae_path(side.in.saes, layer), sae::SaePart::decoder);
    comm::agree(comm_, [&] {
      require(sae.latents == side.features->features(layer), ExitCode::bad_data, "{} has {} latents, {} has {} features in layer {}",
              sae::sae_path(side.in.saes, layer).string(), sae.latents, side.in.features.string(), side.features->features(layer), layer);
    });
    return sae;
  }

  std::shared_ptr<io::RowSource> rows_of(const Side& side, int layer) const {
    return comm::agreed(comm_,
                        [&] { return std::make_shared<io::RowSource>(side.in.activations.string() + ":/" + layer_name(layer) + "/x"); });
  }

  /// Found once a layer: pairs ask again.
  const std::vector<std::int32_t>& long_spans_of(const Side& side, int layer) const {
    const auto [found, added] = side.long_spans.try_emplace(layer);
    if (added && settings_.residual) found->second = long_spans(comm_, *rows_of(side, layer), spans_, settings_.max_norm, stop_);
    return found->second;
  }

  std::optional<PhraseMeans> means_of(const Side& side, int layer) const {
    if (!settings_.residual) return std::nullopt;
    return phrase_means(comm_, *rows_of(side, layer), without(spans_, long_spans_of(side, layer)), settings_.row, stop_);
  }

  /// Of a layer's own random draws.
  std::uint64_t own_seed(const Side& side, int layer) const {
    return Philox(options_.seed, "layer of subspaces", static_cast<std::uint64_t>(side.name), static_cast<std::uint64_t>(layer + 1))
        .bits(0);
  }

  /// By the published rule, where that is wanted.
  std::optional<GivenFeatures> given_features(const Side& side, int layer) const {
    if (settings_.rule != Rule::paper) return std::nullopt;
    return comm::agreed(comm_, [&] {
      return std::optional(paper_features(*side.features, layer, corpus::TokenTexts(options_.tokens), tokens_->count(), lists_));
    });
  }

  void run_layer(io::Output& output, Side& side, Index number) {
    const int layer = side.layers[at(number)];
    LayerResult result;
    const auto values = values_on_spans(side, layer);
    const auto given = given_features(side, layer);
    result.members =
        choose_members(comm_, spans_, defined_, values, settings_, options_.seed, given ? &*given : nullptr, stop_, &seconds_.of_members);
    const auto sae = load_decoder(side, layer);
    const auto means = means_of(side, layer);
    const auto features = layer_features(side, layer, sae);
    comm::agree(comm_, [&] {
      require(!means || means->d == sae.d, ExitCode::bad_data, "{} has rows of {} numbers in layer {}, the SAE {}",
              side.in.activations.string(), means ? means->d : 0, layer, sae.d);
      require(!side.runner || (side.runner->width() == sae.d && layer < side.runner->layers()), ExitCode::bad_data,
              "{} is a model of width {} with {} layers; the SAE of layer {} has width {}", side.in.model.model.string(),
              side.runner ? side.runner->width() : 0, side.runner ? side.runner->layers() : 0, layer, sae.d);
    });
    comm::agree(comm_, [&] {
      result.bases =
          make_bases(spans_, result.members, features, means ? &*means : nullptr, settings_.k, options_.seed, own_seed(side, layer));
    });
    result.effects = EffectMatrices(extent_.concepts);
    LayerActs acts(extent_);
    const auto& at_layers = side.effect_layers;
    if (side.runner && std::find(at_layers.begin(), at_layers.end(), layer) != at_layers.end()) measure(side, layer, result, acts);
    const auto geometry = geometry_of(side, layer, result);
    comm::agree(comm_, [&] {
      if (!output.writes()) return;
      write_layer(output.file(), extent_, side.name, number, result);
      write_acts(output.file(), extent_, side.name, number, acts, groups_of(lists_), {settings_.permutations, options_.seed});
      write_geometry(output.file(), side.name, number, geometry);
      write_removals(output.file(), side.name, number, result.effects);
    });
  }

  SpanValues values_on_spans(const Side& side, int layer) const {
    const Stopwatch watch(seconds_.values);
    return span_values(comm_, *side.features, layer, spans_, settings_.value, stop_);
  }

  /// How the layer's subspaces act.
  void measure(const Side& side, int layer, LayerResult& result, LayerActs& acts) const {
    const auto kept = without(effect_spans_, long_spans_of(side, layer));
    if (kept.size() < effect_spans_.size())
      log_info("subspaces: nothing is removed at {} of {} spans of {} {}, whose rows are too long", effect_spans_.size() - kept.size(),
               effect_spans_.size(), side.name, layer_name(layer));
    const EffectPlaces places{spans_, kept, settings_.after};
    if (removes("mean")) {
      result.effects = side.runner->effects(layer, result.bases, removed_, places);
      result.effects.kl_of_spans = placed_among(result.effects.kl_of_spans, kept, effect_spans_);
    }
    if (!extent_.resampled && extent_.strengths == 0) return;
    const auto rows = rows_of(side, layer);
    const Resampling resampling{donors_, *rows};
    if (extent_.resampled) acts.resampled = side.runner->effects(layer, result.bases, removed_, places, &resampling);
    if (extent_.strengths == 0) return;
    acts.directions = steering_directions(comm_, *rows, spans_, result.bases, kinds_to_steer(removed_.kinds), settings_.row);
    for (std::size_t i = 0; i < strengths_.size(); ++i)
      acts.steered[i] = side.runner->steered(layer, acts.directions, strengths_[i], first_tokens_, places);
  }

  LayerGeometry geometry_of(Side& side, int layer, const LayerResult& result) {
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

  /// The members of a layer that was done: feature and concept in turn. On every rank.
  std::vector<std::int32_t> members_again(io::Output& output, const Side& side, Index number) const {
    std::vector<std::int32_t> flat;
    comm::agree(comm_, [&] {
      if (!output.writes()) return;
      const auto members = read_members(output.file(), extent_, side.name, number);
      for (std::size_t c = 0; c < members.size(); ++c)
        for (const Member& member : members[c].members) flat.insert(flat.end(), {member.feature, static_cast<std::int32_t>(c)});
    });
    comm::broadcast(comm_, flat);
    return flat;
  }

  /// With their values on the spans.
  LayerMembers layer_members(io::Output& output, const Side& side, Index number) const {
    const int layer = side.layers[at(number)];
    const auto flat = members_again(output, side, number);
    LayerMembers members;
    members.of_concept.resize(at(extent_.concepts));
    std::map<std::int32_t, Index> place;
    for (std::size_t i = 0; i < flat.size(); i += 2) place.emplace(flat[i], 0);
    Index next = 0;
    for (auto& [feature, number_of_feature] : place) number_of_feature = next++;
    for (std::size_t i = 0; i < flat.size(); i += 2) members.of_concept[at(flat[i + 1])].push_back(place.at(flat[i]));
    members.values = values_of(side, layer, place);
    const auto sae = load_decoder(side, layer);
    std::vector<double> rows;
    rows.reserve(place.size() * at(sae.d));
    for (const auto& [feature, number_of_feature] : place)
      for (Index j = 0; j < sae.d; ++j) rows.push_back(static_cast<double>(sae.decoder[at(feature * sae.d + j)]));
    members.decoder = SmallSpace(rows, next, sae.d);
    return members;
  }

  std::vector<std::vector<SpanEntry>> values_of(const Side& side, int layer, const std::map<std::int32_t, Index>& place) const {
    struct Item {
      std::int32_t place;
      SpanEntry entry;
    };
    const auto values = values_on_spans(side, layer);
    std::vector<Item> items;
    for (const auto& [feature, number] : place)
      if (feature >= values.begin() && feature < values.begin() + values.count())
        for (const SpanEntry& entry : values.of(feature - values.begin())) items.push_back({static_cast<std::int32_t>(number), entry});
    std::vector<std::vector<SpanEntry>> all(place.size());
    for (const Item& item : comm::all_gather(comm_, items)) all[at(item.place)].push_back(item.entry);
    return all;
  }

  void run_pair(io::Output& output, Index pair) {
    const auto width = static_cast<Index>(b_.layers.size());
    if (kept_a_ != pair / width) {
      members_a_ = layer_members(output, a_, pair / width);
      means_a_ = means_of(a_, a_.layers[at(pair / width)]);
      kept_a_ = pair / width;
    }
    const auto members_b = layer_members(output, b_, pair % width);
    auto means_b = means_of(b_, b_.layers[at(pair % width)]);
    std::optional<PhraseMeans> common_a;
    if (means_a_ && means_b && means_a_->phrase != means_b->phrase) std::tie(common_a, means_b) = of_common_phrases(*means_a_, *means_b);
    const PhraseMeans* phrases_a = common_a ? &*common_a : means_a_ ? &*means_a_ : nullptr;
    const dist::Partition shares{extent_.concepts, comm_.size()};
    const Stopwatch watch(seconds_.alike);
    Alike alike;
    comm::agree(comm_, [&] {
      alike = compare_concepts(spans_, members_a_, members_b, phrases_a, means_b ? &*means_b : nullptr, shares.begin(comm_.rank()),
                               shares.end(comm_.rank()), settings_.shuffles, options_.seed, stop_);
    });
    stop_.throw_if_wanted(comm_, "subspaces");
    alike = gathered(comm_, alike, shares);
    for (std::size_t c = 0; c < defined_.size(); ++c)
      if (!defined_[c].defined) alike.phrases[c] = not_compared();
    comm::agree(comm_, [&] {
      if (output.writes())
        write_pair(output.file(), pair, alike, contrasts_of(alike, groups_of(lists_), settings_.permutations, options_.seed));
    });
  }

  /// Of both models' layers, on rank 0.
  std::pair<std::vector<EffectMatrices>, std::vector<EffectMatrices>> all_effects(io::Output& output) const {
    std::pair<std::vector<EffectMatrices>, std::vector<EffectMatrices>> all;
    for (const auto& [side, effects] : {std::pair{&a_, &all.first}, std::pair{&b_, &all.second}}) {
      effects->assign(side->layers.size(), EffectMatrices(extent_.concepts));
      comm::agree(comm_, [&, side = side, effects = effects] {
        for (std::size_t i = 0; i < effects->size() && output.writes(); ++i) {
          (*effects)[i] = read_effects(output.file(), extent_, fmt::format("/{}/", side->name), static_cast<Index>(i));
          (*effects)[i].kl_of_spans = read_removals(output.file(), side->name, static_cast<Index>(i));
        }
      });
    }
    return all;
  }

  ClaimInputs claim_inputs() const {
    return {removed_, groups_of(lists_), together_, similarity_, settings_.permutations, options_.seed, dealt_};
  }

  /// Agreement and meaning of one family of the claim; rows of the file hold those of all kinds of subspaces.
  void run_family(io::Output& output, Index number) {
    if (!effects_of_all_) {
      effects_of_all_ = all_effects(output);
      share_effects(comm_, effects_of_all_->first);
      share_effects(comm_, effects_of_all_->second);
    }
    const auto family = claim_families(removed_)[at(number)];
    const auto values = family_values(comm_, effects_of_all_->first, effects_of_all_->second, family, claim_inputs());
    comm::agree(comm_, [&] {
      const auto names = claim_datasets(similarity_);
      for (std::size_t i = 0; i < values.size() && output.writes(); ++i) {
        auto dataset = output.file().dataset(names[family.measure * values.size() + i]);
        auto row = dataset.read<double>(family.set, 1);
        std::copy(values[i].begin(), values[i].end(), row.begin() + static_cast<std::ptrdiff_t>(at(family.kind) * values[i].size()));
        dataset.write_rows(family.set, 1, row.data());
      }
    });
  }

  void run_other_claims(io::Output& output) {
    effects_of_all_.reset();
    test_geometry(comm_, output.writes() ? &output.file() : nullptr, extent_,
                  {tested_pairs(), groups_of(lists_), together_, settings_.permutations, options_.seed});
    if (!settings_.effects) return;
    run_act_claims(comm_, output.writes() ? &output.file() : nullptr, extent_, claim_inputs());
  }

  /// The bases of a layer that was done; `matched` may be other ones.
  LayerBases bases_again(io::Output& output, const Side& side, int layer) const {
    const auto number = std::find(side.layers.begin(), side.layers.end(), layer) - side.layers.begin();
    std::vector<ConceptMembers> members(at(extent_.concepts));
    for (std::size_t c = 0; c < members.size(); ++c) members[c].defined = defined_[c].defined;
    const auto flat = members_again(output, side, number);
    for (std::size_t i = 0; i < flat.size(); i += 2) {
      members[at(flat[i + 1])].members.emplace_back();
      members[at(flat[i + 1])].members.back().feature = flat[i];
    }
    const auto sae = load_decoder(side, layer);
    const auto means = means_of(side, layer);
    const auto features = layer_features(side, layer, sae);
    return comm::agreed(comm_, [&] {
      return make_bases(spans_, members, features, means ? &*means : nullptr, settings_.k, options_.seed, own_seed(side, layer));
    });
  }

  /// First every pair from A into B, then from B into A: a model at a time.
  void run_carried(io::Output& output, Index unit) {
    const auto pairs = carried_pairs();
    const auto count = static_cast<Index>(pairs.size()) / 2;
    const int direction = static_cast<int>(unit / count);
    const Index pair = unit % count;
    if (unit == count) b_.runner->release();
    const std::array<int, 2> layers{pairs[at(2 * pair)], pairs[at(2 * pair + 1)]};
    const std::array<const Side*, 2> sides{&a_, &b_};
    const int from = direction;
    const int to = 1 - direction;
    const auto bases_from = bases_again(output, *sides[at(from)], layers[at(from)]);
    const auto bases_to = bases_again(output, *sides[at(to)], layers[at(to)]);
    const auto rows_from = rows_of(*sides[at(from)], layers[at(from)]);
    const auto rows_to = rows_of(*sides[at(to)], layers[at(to)]);
    const auto kept = without(effect_spans_, long_spans_of(*sides[at(to)], layers[at(to)]));
    const auto contexts = draw_map_contexts(spans_, {contexts_.offsets, contexts_.document}, settings_.map_rows, options_.seed);
    const auto result = carry(comm_, {bases_from,
                                      bases_to,
                                      {*rows_from, *rows_to, *tokens_},
                                      contexts,
                                      *sides[at(to)]->runner,
                                      layers[at(to)],
                                      spans_,
                                      kept,
                                      settings_.after,
                                      {.groups = groups_of(lists_), .permutations = settings_.permutations, .seed = options_.seed}});
    comm::agree(comm_, [&] {
      if (output.writes()) write_carried(output.file(), pair, direction, result);
    });
  }

  /// Pairs of layers at which effects are measured; all where none are.
  std::vector<Index> tested_pairs() const {
    std::vector<Index> pairs;
    const auto at_layer = [&](const Side& side, int layer) {
      return !settings_.effects || std::find(side.effect_layers.begin(), side.effect_layers.end(), layer) != side.effect_layers.end();
    };
    for (Index pair = 0; pair < extent_.pairs(); ++pair) {
      const auto width = static_cast<Index>(b_.layers.size());
      if (at_layer(a_, a_.layers[at(pair / width)]) && at_layer(b_, b_.layers[at(pair % width)])) pairs.push_back(pair);
    }
    return pairs;
  }

  void run_headline(io::Output& output) {
    if (!settings_.effects) return;
    auto [a, b] = all_effects(output);
    const auto claim = claim_inputs();
    const auto values = headline_values(comm_, std::move(a), std::move(b),
                                        {claim, removals_of(spans_, effect_spans_), settings_.level_draws, settings_.resamples});
    comm::agree(comm_, [&] {
      if (!output.writes()) return;
      const auto& names = headline_datasets();
      for (std::size_t i = 0; i < names.size(); ++i) output.file().dataset(names[i]).write_all(values[i]);
      std::vector<std::string> pairs;
      for (const int layer_a : a_.layers)
        for (const int layer_b : b_.layers) pairs.push_back(fmt::format("{} and {}", layer_a, layer_b));
      const auto claimed = [&](const char* name) { return output.file().dataset(std::string("/claim/kl/") + name).read_all<double>(); };
      say_headline(values, claimed("robust_t"), claimed("r"), claimed("ratio"), pairs, settings_.level_draws);
    });
  }

  const comm::Communicator& comm_;
  const SubspacesOptions& options_;
  const SubspacesSettings& settings_;
  Side a_, b_;
  concepts::ConceptLists lists_;
  std::optional<corpus::TokenReader> tokens_;
  corpus::Contexts contexts_;
  StageKey key_;
  Extent extent_;
  RemovedBases removed_;
  std::map<std::string, std::vector<double>> similarity_; ///< measure -> [C, C]
  concepts::OccurrenceCounts counts_;
  std::vector<double> together_; ///< [C, C] log odds of the words of two concepts in a window
  std::vector<double> dealt_;    ///< [C, C] whose phrases the control `dealt` is made of
  std::vector<Span> spans_;
  std::vector<ConceptSpans> defined_;
  std::vector<std::int32_t> effect_spans_;
  std::optional<std::pair<std::vector<EffectMatrices>, std::vector<EffectMatrices>>> effects_of_all_; ///< while the claim is tested
  std::optional<FirstTokens> opening_tokens_;
  std::map<std::int32_t, Donors> donors_; ///< of these, for resampled removals
  std::vector<double> strengths_;         ///< of steering
  ConceptTokens first_tokens_;            ///< that steering may write
  comm::StopWithin stop_;                 ///< within the unit at hand
  /// What this rank took.
  struct Seconds {
    double occurrences = 0; ///< and the choice of spans
    double values = 0;
    MemberSeconds of_members;
    double alike = 0;
  };
  mutable Seconds seconds_;
  Index kept_a_ = -1;
  LayerMembers members_a_;
  std::optional<PhraseMeans> means_a_;
};

} // namespace

void subspaces(const comm::Communicator& comm, const SubspacesOptions& options) {
  Stage(comm, options).run();
}

} // namespace concord::subspaces
