#include "concord/comm/agree.hpp"
#include "concord/core/at.hpp"

#include "subspaces/claim/headline.hpp"
#include "subspaces/files/removals_file.hpp"
#include "subspaces/stage/stage.hpp"

namespace concord::subspaces {
BothEffects Stage::all_effects(io::Output& output) const {
  BothEffects all;
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

ClaimInputs Stage::claim_inputs() const {
  return {removed_, groups_of(lists_), together_.log_odds, similarity_, settings_.permutations, options_.seed, dealt_};
}

void Stage::run_family(io::Output& output, Index number) {
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
      require(row.size() >= at(family.kind + 1) * values[i].size(), ExitCode::bad_data, "dataset {} has rows of {} numbers", dataset.name(),
              row.size());
      std::copy(values[i].begin(), values[i].end(), row.begin() + static_cast<std::ptrdiff_t>(at(family.kind) * values[i].size()));
      dataset.write_rows(family.set, 1, row.data());
    }
  });
}

void Stage::run_other_claims(io::Output& output) {
  effects_of_all_.reset();
  test_geometry(comm_, output.writes() ? &output.file() : nullptr, extent_,
                {tested_pairs(), groups_of(lists_), together_.log_odds, settings_.permutations, options_.seed});
  if (!settings_.effects) return;
  run_act_claims(comm_, output.writes() ? &output.file() : nullptr, extent_, claim_inputs());
}

std::vector<Index> Stage::tested_pairs() const {
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

void Stage::run_headline(io::Output& output) {
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

} // namespace concord::subspaces
