#include "concord/comm/agree.hpp"
#include "concord/comm/decided.hpp"
#include "concord/core/at.hpp"
#include "concord/core/run/stopwatch.hpp"

#include "subspaces/stage/stage.hpp"
#include <optional>

namespace concord::subspaces {
namespace {

/// The features of a list of feature and concept in turn, each once, with its number in ascending order.
std::map<std::int32_t, Index> places_of(const std::vector<std::int32_t>& flat) {
  std::map<std::int32_t, Index> place;
  for (std::size_t i = 0; i < flat.size(); i += 2) place.emplace(flat[i], 0);
  Index next = 0;
  for (auto& [feature, number] : place) number = next++;
  return place;
}

} // namespace

std::vector<std::int32_t> Stage::members_again(io::Output& output, const Side& side, Index number) const {
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

LayerMembers Stage::layer_members(io::Output& output, const Side& side, Index number) const {
  const int layer = side.layers[at(number)];
  const auto flat = members_again(output, side, number);
  LayerMembers members;
  members.of_concept.resize(at(extent_.concepts));
  const auto place = places_of(flat);
  for (std::size_t i = 0; i < flat.size(); i += 2) members.of_concept[at(flat[i + 1])].push_back(place.at(flat[i]));
  const auto kept = kept_values_.find({side.name, layer});
  members.values = kept != kept_values_.end() ? kept->second : gathered_values(values_on_spans(side, layer), place);
  const auto sae = load_decoder(side, layer);
  std::vector<double> rows;
  rows.reserve(place.size() * at(sae.d));
  for (const auto& [feature, number_of_feature] : place)
    for (Index j = 0; j < sae.d; ++j) rows.push_back(static_cast<double>(sae.decoder[at(feature * sae.d + j)]));
  members.decoder = SmallSpace(rows, static_cast<Index>(place.size()), sae.d);
  return members;
}

std::vector<std::vector<SpanEntry>> Stage::gathered_values(const SpanValues& values, const std::map<std::int32_t, Index>& place) const {
  struct Item {
    std::int32_t place;
    SpanEntry entry;
  };
  std::vector<Item> items;
  for (const auto& [feature, number] : place)
    if (feature >= values.begin() && feature < values.begin() + values.count())
      for (const SpanEntry& entry : values.of(feature - values.begin())) items.push_back({static_cast<std::int32_t>(number), entry});
  std::vector<std::vector<SpanEntry>> all(place.size());
  for (const Item& item : comm::all_gather(comm_, items)) all[at(item.place)].push_back(item.entry);
  return all;
}

void Stage::keep_values(const Side& side, int layer, const SpanValues& values, const std::vector<ConceptMembers>& members) {
  std::vector<std::int32_t> flat;
  for (const auto& of_concept : members)
    for (const Member& member : of_concept.members) flat.insert(flat.end(), {member.feature, 0});
  const auto place = places_of(flat);
  Index entries = 0;
  for (const auto& [feature, number] : place)
    if (feature >= values.begin() && feature < values.begin() + values.count())
      entries += static_cast<Index>(values.of(feature - values.begin()).size());
  entries = comm::sum_of(comm_, entries);
  if (entries_kept_ + entries > most_entries_kept) return;
  entries_kept_ += entries;
  kept_values_[{side.name, layer}] = gathered_values(values, place);
}

Stage::LayerInPairs Stage::layer_in_pairs(io::Output& output, const Side& side, Index number) const {
  const int layer = side.layers[at(number)];
  return {layer_members(output, side, number), means_of(side, layer), pseudo_means_of(side, layer)};
}

namespace {

/// Both models' means of the phrases that both have.
class InCommon {
public:
  InCommon(const std::optional<PhraseMeans>& a, const std::optional<PhraseMeans>& b)
      : a_(a && b ? &*a : nullptr), b_(a && b ? &*b : nullptr) {
    if (there() && a_->phrase != b_->phrase) own_ = of_common_phrases(*a_, *b_);
  }
  /// Not where one of the models has no rows.
  bool there() const { return a_ != nullptr; }
  const PhraseMeans* a() const { return own_ ? &own_->first : a_; }
  const PhraseMeans* b() const { return own_ ? &own_->second : b_; }

private:
  const PhraseMeans* a_;
  const PhraseMeans* b_;
  std::optional<std::pair<PhraseMeans, PhraseMeans>> own_;
};

} // namespace

void Stage::run_pair(io::Output& output, Index pair) {
  const auto width = static_cast<Index>(b_.layers.size());
  if (kept_a_ != pair / width) {
    in_pairs_a_ = layer_in_pairs(output, a_, pair / width);
    kept_a_ = pair / width;
  }
  const auto in_pairs_b = layer_in_pairs(output, b_, pair % width);
  const InCommon phrases(in_pairs_a_.means, in_pairs_b.means);
  const InCommon pseudo(in_pairs_a_.pseudo, in_pairs_b.pseudo);
  const dist::Partition shares{extent_.concepts, comm_.size()};
  const Stopwatch watch(seconds_.alike);
  Alike alike;
  comm::agree(comm_, [&] {
    const Index first = shares.begin(comm_.rank());
    const Index last = shares.end(comm_.rank());
    alike = compare_concepts(spans_, in_pairs_a_.members, in_pairs_b.members, phrases.a(), phrases.b(), first, last, settings_.shuffles,
                             options_.seed, stop_);
    if (pseudo.there())
      alike.pseudo =
          compare_phrases(pseudo_.spans, *pseudo.a(), *pseudo.b(), extent_.concepts, first, last, settings_.shuffles, options_.seed, stop_);
  });
  stop_.throw_if_wanted(comm_, "subspaces");
  alike = gathered(comm_, alike, shares);
  for (std::size_t c = 0; c < defined_.size(); ++c) {
    if (defined_[c].defined) continue;
    alike.phrases[c] = not_compared();
    if (pseudo.there()) alike.pseudo[c] = not_compared();
  }
  comm::agree(comm_, [&] {
    if (output.writes())
      write_pair(output.file(), pair, alike, contrasts_of(alike, groups_of(lists_), settings_.permutations, options_.seed));
  });
}

} // namespace concord::subspaces
