#include "concord/comm/agree.hpp"
#include "concord/comm/decided.hpp"
#include "concord/core/at.hpp"
#include "concord/subspaces/spans/long_spans.hpp"

#include "subspaces/carried/carried_stage.hpp"
#include "subspaces/stage/stage.hpp"

namespace concord::subspaces {
std::vector<std::int32_t> Stage::carried_pairs() const {
  std::vector<std::int32_t> pairs;
  for (const int a : a_.effect_layers)
    for (const int b : b_.effect_layers)
      if (settings_.carry) pairs.insert(pairs.end(), {a, b});
  return pairs;
}

LayerBases Stage::bases_again(io::Output& output, const Side& side, int layer) const {
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

void Stage::run_carried(io::Output& output, Index unit) {
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
                                    {*rows_from, *rows_to, *tokens_, longest_row(comm_, *rows_from, spans_, settings_.max_norm, stop_),
                                     longest_row(comm_, *rows_to, spans_, settings_.max_norm, stop_)},
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

} // namespace concord::subspaces
