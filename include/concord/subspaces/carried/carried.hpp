#pragma once
/// Does A's subspace act on B? Bases of one model carried into another by a linear map, and what their removal does there.
///
/// The map y = M x + b from rows of the one model ("from") to those of the other ("to") at the same tokens is fitted by ridge regression
/// (ridge_map.hpp) on one half of the documents; a basis U is carried to an orthonormal basis of M U. Effects are those of effects.hpp, on
/// the other half of the documents, with the centre of the model acted on. Map and subspaces know nothing of what the other model does with
/// them, so an effect of the carried basis of c that is near that of the model's own basis of c says that both hold c in the same place.

#include "concord/subspaces/carried/ridge_map.hpp"
#include "concord/subspaces/effects/effects.hpp"

#include <array>

namespace concord::subspaces {

/// What is removed.
///   own_residual, own_sae           bases of the model acted on
///   residual, sae                   carried from the other model
///   dealt                           control: carried, of phrases dealt out anew to the concepts
///   residual_shuffled, sae_shuffled control: carried by a map fitted to rows that do not belong together
///   residual_random, sae_random     control: random subspaces of as many dimensions
enum class CarriedKind { own_residual, own_sae, residual, sae, dealt, residual_shuffled, sae_shuffled, residual_random, sae_random };
inline constexpr int carried_kinds = 9;
const char* name_of(CarriedKind kind);
/// What a kind is held against: own_residual or own_sae.
CarriedKind own_of(CarriedKind kind);

/// An orthonormal basis of M U, of as many dimensions as M leaves. Local.
Basis carried(const AffineMap& map, const Basis& basis);

/// [carried_kinds][concepts]. Local. @param seed of the random ones
std::vector<std::vector<Basis>> carried_bases(const LayerBases& from, const LayerBases& to, const AffineMap& map, const AffineMap& shuffled,
                                              std::uint64_t seed);

/// Those that have dimensions: kind after kind, in each the concepts, the order of SpanEffects.
struct RemovedCarried {
  std::vector<const Basis*> bases;
  std::vector<std::array<Index, 2>> which; ///< kind and concept of each
};
RemovedCarried removed_of(const std::vector<std::vector<Basis>>& bases);

/// Means as those of effect_means(), and what follows from them. NaN: not measured.
struct CarriedEffects {
  explicit CarriedEffects(Index concepts = 0);
  Index concepts = 0;
  std::vector<std::int32_t> dimensions; ///< [kinds, C]
  std::vector<std::int32_t> spans;      ///< [C] that the means are over
  std::vector<std::int32_t> documents;  ///< [C]
  std::vector<double> kl, loss, energy; ///< [kinds, C, C]: row c removed at the occurrences of column c'
  std::vector<double> ratio;            ///< [kinds, C] of kl(c, c) to that of the model's own basis
  std::vector<double> mean_ratio;       ///< [kinds, 3] sum of kl(c, c) over sum of the own ones; bounds of its 95 % interval by documents
  std::vector<double> contrast;         ///< [kinds] mean of kl(c, c) less that of kl(c, c')
  std::vector<double> contrast_p;       ///< [kinds, 2] by permuting concepts: all, and inside groups
};

struct CarriedTests {
  std::vector<Index> groups; ///< of the concepts; empty: not known
  Index permutations = 9999;
  Index replicates = 1000; ///< of documents
  std::uint64_t seed = 0;
};

/// Local. @param effects of `removed`
CarriedEffects carried_effects(const std::vector<Span>& spans, const SpanEffects& effects, const RemovedCarried& removed,
                               const std::vector<std::vector<Basis>>& bases, const CarriedTests& tests);

} // namespace concord::subspaces
