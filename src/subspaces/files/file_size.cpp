#include "subspaces/files/file_size.hpp"

#include "concord/subspaces/memory_plan.hpp"

#include "subspaces/carried/carried_stage.hpp"
#include "subspaces/claim/headline.hpp"
#include "subspaces/files/acts_file.hpp"
#include "subspaces/files/removals_file.hpp"
#include "subspaces/geometry/geometry.hpp"
#include <algorithm>
#include <numeric>

namespace concord::subspaces {
namespace {

bool named(const std::vector<std::string>& list, const char* name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

template <typename Count>
double of(Count count) {
  return static_cast<double>(count);
}

std::vector<int> numbered(int layers) {
  std::vector<int> list(static_cast<std::size_t>(layers));
  std::iota(list.begin(), list.end(), 0);
  return list;
}

/// All that the lists and the corpus say: matrices of concepts by concepts, and what is as long as concepts or phrases.
double concepts_bytes(const Extent& e, double phrases) {
  constexpr double matrices = 4; // together, its phi and npmi, dealt
  constexpr auto kinds = static_cast<double>(concepts::span_kinds);
  const auto c = static_cast<double>(e.concepts);
  return matrices * c * c * 8 + c * (8 * kinds + 4 + 4 + 1) + phrases * (4 + 8 * kinds);
}

double claim_bytes(const Extent& e, double meanings) {
  const std::map<std::string, std::vector<double>> none;
  std::map<std::string, std::vector<double>> one;
  one["meaning"] = {};
  const double alone = of(claim_datasets(none).size());
  const double names = alone + meanings * (of(claim_datasets(one).size()) - alone);
  const double rows = span_sets * basis_kinds * static_cast<double>(e.pairs());
  double acts = (e.resampled ? names : 0) + (e.equal_energy ? names : 0);
  acts += static_cast<double>(e.strengths) * alone / span_sets;
  return 8 * rows * (names + of(headline_datasets().size()) + acts);
}

} // namespace

double dataset_bytes(const Extent& e, const FileCounts& counts) {
  double bytes = concepts_bytes(e, counts.phrases) + result_bytes(e) + geometry_bytes(e);
  if (counts.carried_pairs > 0) bytes += carried_bytes(static_cast<Index>(counts.carried_pairs), e.concepts);
  if (!e.effects) return bytes;
  const auto c = static_cast<double>(e.concepts);
  return bytes + counts.meanings * c * c * 8 + removals_bytes(e, counts.removals) + acts_bytes(e) + claim_bytes(e, counts.meanings);
}

double file_bytes(const Extent& e, const FileCounts& counts) {
  constexpr double text = 64;               // of a name or a phrase, with its place
  constexpr double least = 3.0 * (1 << 20); // headers, attributes, gaps between datasets
  const double words = e.pseudo ? 2 : 1;
  return least + dataset_bytes(e, counts) + text * (words * counts.phrases + 2 * static_cast<double>(e.concepts)) +
         (e.pseudo ? 16 * counts.phrases : 0);
}

double subspaces_bytes(const SubspacesSettings& s, const SubspacesSize& size, const SubspacesLayers& layers) {
  Extent e;
  e.concepts = static_cast<Index>(size.concepts);
  e.members = s.max_members;
  e.layers_a = numbered(layers.layers_a);
  e.layers_b = numbered(layers.layers_b);
  e.effects = s.effects;
  e.resampled = s.effects && named(s.removals, "resample");
  e.equal_energy = s.effects && s.equal_energy;
  e.strengths = s.effects ? static_cast<Index>(s.steering.size()) : 0;
  e.pseudo = named(s.further_bases, "pseudo");
  const double removals = size.concepts * static_cast<double>(concepts::span_kinds) * halves * static_cast<double>(s.effect_occurrences);
  const double carried = s.carry && s.effects ? static_cast<double>(layers.effect_layers_a) * layers.effect_layers_b : 0;
  return file_bytes(e, {.phrases = size.phrases, .removals = removals, .meanings = layers.meanings, .carried_pairs = carried});
}

double claim_operations(const SubspacesSettings& s, const SubspacesSize& size, const SubspacesLayers& layers) {
  constexpr double crossings = 2;
  constexpr double tests = 2;      // free permutations, and those that keep groups
  constexpr double of_entry = 40;  // of a permutation: moved, covariates taken out, products, the robust error, ranks
  constexpr double of_meaning = 4; // questions, with at most so many permutations
  constexpr double most_of_meaning = 999;
  constexpr double level_permutations = 199;
  const double one = of_entry * crossings * size.concepts * size.concepts;
  const double permutations = tests * static_cast<double>(s.permutations);
  const double pairs = static_cast<double>(layers.effect_layers_a) * layers.effect_layers_b;
  const double twice = pairs > 1 ? 2 : 1; // a family, and each of its pairs by itself
  const double kinds = of(s.effect_bases.size() + s.further_bases.size());
  const auto controls = of(std::count_if(s.effect_bases.begin(), s.effect_bases.end(),
                                         [](const std::string& name) { return name == "random" || name == "matched"; }));
  const double heads = kinds - controls;                             // whose level and intervals are looked at
  double all = pairs * permutations * twice * (basis_kinds + 2) / 2; // of overlap, logits, co-activation, without halves
  if (!s.effects) return one * static_cast<double>(layers.layers_a) * layers.layers_b * permutations * twice * (basis_kinds + 1) / 2;
  const double family = pairs * permutations * twice;
  const double meaning = pairs * layers.meanings * of_meaning * tests * std::min(most_of_meaning, static_cast<double>(s.permutations));
  constexpr double measures = 2;
  const double acts = 1 + (named(s.removals, "resample") ? 1 : 0) + (s.equal_energy ? 2 / std::max(kinds, 2.0) : 0);
  all += acts * measures * kinds * (span_sets * family + meaning);
  all += of(s.steering.size()) * measures * std::min(kinds, of(steered_kinds.size())) * family;
  all += heads * pairs * (static_cast<double>(s.level_draws) * tests * level_permutations + static_cast<double>(s.resamples));
  return one * all;
}

} // namespace concord::subspaces
