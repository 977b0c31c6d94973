#include "concord/subspaces/subspaces.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/decided.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/digest.hpp"
#include "concord/core/json_text.hpp"
#include "concord/core/log.hpp"
#include "concord/core/philox.hpp"
#include "concord/core/progress.hpp"
#include "concord/core/text.hpp"
#include "concord/corpus/tokens.hpp"
#include "concord/features/features.hpp"
#include "concord/io/output.hpp"
#include "concord/model/weights.hpp"
#include "concord/sae/sae.hpp"

#include "subspaces/claim_tests.hpp"
#include "subspaces/model_runner.hpp"
#include "subspaces/paper_rule.hpp"
#include "subspaces/result_file.hpp"
#include <algorithm>
#include <optional>

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
      if (!settings_.effects) return;
      for (const auto& [name, matrix] : similarity_) file.write("/similarity/" + name, matrix, {extent_.concepts, extent_.concepts});
      for (const auto& name : claim_datasets(similarity_)) file.create_dataset(name, {span_sets, basis_kinds, extent_.pairs()}, Dtype::f64);
    });
    const Index units = extent_.layers() + extent_.pairs() + 1;
    Progress progress("subspaces", units, "units", output.units_done());
    for (Index unit = output.units_done(); unit < units; ++unit) {
      run_unit(output, unit);
      output.commit(unit + 1);
      progress.update(unit + 1);
      if (unit + 1 < units && comm::stop_requested(comm_)) comm::throw_stopped("subspaces");
    }
    output.finish();
    say_stage_ok("subspaces", progress.seconds(),
                 fmt::format("concepts={} spans={} layers={} pairs={}", defined_count(), spans_.size(), extent_.layers(), extent_.pairs()),
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
    if (!settings_.similarity.empty()) {
      similarity_ = read_similarity(settings_.similarity, settings_.meaning, lists_);
      key_.inputs["similarity"] = concord::digest_of(nlohmann::json(similarity_).dump());
    }
  }

  double bytes() const {
    const auto c = static_cast<double>(extent_.concepts);
    const double effects = extent_.effects ? 4 * span_sets * basis_kinds * halves * c * c * 8 : 0;
    const double layer = c * static_cast<double>(extent_.members) * 100 + basis_kinds * c * c * 8 + effects;
    return (1 << 20) + static_cast<double>(extent_.layers()) * layer + static_cast<double>(extent_.pairs()) * (c * c * 36 + c * 300 + 4096);
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

  Index defined_count() const {
    return std::count_if(defined_.begin(), defined_.end(), [](const ConceptSpans& c) { return c.defined; });
  }

  /// Occurrences, and the spans that are looked at. Says what does not occur.
  void find_spans() {
    const auto occurrences = concepts::find_occurrences(comm_, options_.tokens, lists_);
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
    defined_ = concept_spans(spans_, static_cast<int>(lists_.concepts.size()), settings_);
    effect_spans_ = effect_spans(spans_, settings_.effect_occurrences, options_.seed);
    std::erase_if(effect_spans_, [&](std::int32_t number) { return !defined_[at(spans_[at(number)].concept_number)].defined; });
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
    if (unit == extent_.layers() && b_.runner) b_.runner->release();
    if (unit < extent_.layers())
      run_layer(output, unit < layers_a ? a_ : b_, unit < layers_a ? unit : unit - layers_a);
    else if (unit < extent_.layers() + extent_.pairs())
      run_pair(output, unit - extent_.layers());
    else
      run_claim(output);
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

  std::optional<PhraseMeans> means_of(const Side& side, int layer) const {
    if (!settings_.residual) return std::nullopt;
    const auto rows = comm::agreed(
        comm_, [&] { return std::make_shared<io::RowSource>(side.in.activations.string() + ":/" + layer_name(layer) + "/x"); });
    return phrase_means(comm_, *rows, spans_, settings_.row);
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
    const auto values = span_values(comm_, *side.features, layer, spans_, settings_.value);
    const auto given = given_features(side, layer);
    result.members = choose_members(comm_, spans_, defined_, values, settings_, options_.seed, given ? &*given : nullptr);
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
    const auto& at_layers = side.effect_layers;
    if (side.runner && std::find(at_layers.begin(), at_layers.end(), layer) != at_layers.end())
      result.effects = side.runner->effects(layer, result.bases, removed_, spans_, effect_spans_, settings_.after);
    comm::agree(comm_, [&] {
      if (output.writes()) write_layer(output.file(), extent_, side.name, number, result);
    });
  }

  /// The members of a layer that was done, with their values on the spans.
  LayerMembers layer_members(io::Output& output, const Side& side, Index number) const {
    const int layer = side.layers[at(number)];
    std::vector<std::int32_t> flat; // feature and concept in turn
    comm::agree(comm_, [&] {
      if (!output.writes()) return;
      const auto members = read_members(output.file(), extent_, side.name, number);
      for (std::size_t c = 0; c < members.size(); ++c)
        for (const Member& member : members[c].members) flat.insert(flat.end(), {member.feature, static_cast<std::int32_t>(c)});
    });
    comm::broadcast(comm_, flat);
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
    const auto values = span_values(comm_, *side.features, layer, spans_, settings_.value);
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
    const auto means_b = means_of(b_, b_.layers[at(pair % width)]);
    const dist::Partition shares{extent_.concepts, comm_.size()};
    Alike alike;
    comm::agree(comm_, [&] {
      alike = compare_concepts(spans_, members_a_, members_b, means_a_ ? &*means_a_ : nullptr, means_b ? &*means_b : nullptr,
                               shares.begin(comm_.rank()), shares.end(comm_.rank()), settings_.shuffles, options_.seed);
    });
    alike = gathered(comm_, alike, shares);
    for (std::size_t c = 0; c < defined_.size(); ++c)
      if (!defined_[c].defined) alike.phrases[c] = not_compared();
    comm::agree(comm_, [&] {
      if (output.writes())
        write_pair(output.file(), pair, alike, contrasts_of(alike, groups_of(lists_), settings_.permutations, options_.seed));
    });
  }

  void run_claim(io::Output& output) {
    if (!settings_.effects) return;
    std::vector<EffectMatrices> a(a_.layers.size(), EffectMatrices(extent_.concepts));
    std::vector<EffectMatrices> b(b_.layers.size(), EffectMatrices(extent_.concepts));
    comm::agree(comm_, [&] {
      if (!output.writes()) return;
      for (std::size_t i = 0; i < a.size(); ++i) a[i] = read_effects(output.file(), extent_, 'a', static_cast<Index>(i));
      for (std::size_t i = 0; i < b.size(); ++i) b[i] = read_effects(output.file(), extent_, 'b', static_cast<Index>(i));
    });
    const auto values = claim_values(comm_, std::move(a), std::move(b),
                                     {removed_, groups_of(lists_), together_, similarity_, settings_.permutations, options_.seed});
    comm::agree(comm_, [&] {
      const auto names = claim_datasets(similarity_);
      for (std::size_t i = 0; i < names.size() && output.writes(); ++i) output.file().dataset(names[i]).write_all(values[i]);
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
  std::vector<Span> spans_;
  std::vector<ConceptSpans> defined_;
  std::vector<std::int32_t> effect_spans_;
  Index kept_a_ = -1;
  LayerMembers members_a_;
  std::optional<PhraseMeans> means_a_;
};

} // namespace

void subspaces(const comm::Communicator& comm, const SubspacesOptions& options) {
  Stage(comm, options).run();
}

} // namespace concord::subspaces
