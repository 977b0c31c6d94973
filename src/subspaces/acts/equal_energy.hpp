#pragma once
/// A control of removals that takes as much as they do.
///
/// Beside the basis of c at the spans of c' stands a word set: as many phrases as c has, drawn from those of other concepts than c and c',
/// of the half that members are chosen on, with the basis that `residual` would make of them, of as many dimensions. Of `draws` sets it is
/// the one that takes the energy nearest to that of c's basis at these spans (of one c all sets are the same ones, those with words of c'
/// left out). A set is drawn from the phrases of half of the other concepts, of more where these have too few, never of all: from all, a
/// set as large as a long list would hold words of every c', and nothing would stand beside it. A random subspace takes k / d of the energy
/// and does hardly anything, so that an effect beyond it says little; an effect beyond this one is not of the amount that was taken. What
/// was taken stands beside it, since a set can be too weak on c itself.

#include "concord/core/philox.hpp"
#include "concord/io/rows/row_source.hpp"

#include "subspaces/effects/model_runner.hpp"

namespace concord::subspaces {

inline constexpr int energy_draws = 200;

/// Which draw stands beside each basis: [kinds, C, C]; -1: no set is without words of c', or there is no basis.
struct EnergyControls {
  std::vector<BasisKind> kinds; ///< sae and residual, where they are removed
  Index concepts = 0;
  std::vector<std::int32_t> draw;
  std::int32_t at(std::size_t kind, Index c, Index other) const {
    return draw[(kind * static_cast<std::size_t>(concepts) + static_cast<std::size_t>(c)) * static_cast<std::size_t>(concepts) +
                static_cast<std::size_t>(other)];
  }
};

/// The phrases that sets are drawn from, and the sets.
class WordSets {
public:
  /// @param phrases less `centre` span the sets' bases
  WordSets(RowsOfConcepts phrases, const std::vector<double>& centre, std::uint64_t seed);
  /// Places among the phrases. As many as the concept has, or as those concepts have that it is drawn from.
  std::vector<Index> of(Index concept_number, int draw) const;
  bool holds(const std::vector<Index>& set, Index concept_number) const;
  Basis basis(const std::vector<Index>& set, Index k) const;

private:
  std::vector<Index> drawn_from(Index concept_number, const Philox& random) const;
  RowsOfConcepts phrases_; ///< less the centre
  std::uint64_t seed_;
};

struct EnergyInputs {
  const io::RowSource& rows; ///< behind the layer
  const PhraseMeans& means;
  const LayerResult& result; ///< bases, and on rank 0 what their removal did at `places`
  const RemovedBases& removed;
  EffectPlaces places;
};

/// Draws and compares; each rank has its share of the concepts. The same on all ranks, whatever their number. Collective over `comm`.
/// @throws Error bad_data, io, stopped; agreed.
EnergyControls energy_controls(const comm::Communicator& comm, const EnergyInputs& inputs, const WordSets& sets);

/// What the controls do, and how far the removals go beyond them, [span_sets, basis_kinds, halves, C, C]: the mean over documents of KL
/// less that of the control, whole documents, and the error of that mean. NaN: not measured.
struct EqualEffects {
  explicit EqualEffects(Index concepts = 0);
  EffectMatrices control;
  std::vector<double> excess, excess_error;
};
/// The result is on rank 0. Collective over `comm`. @throws Error as energy_controls() and ModelRunner::effects().
EqualEffects equal_effects(const comm::Communicator& comm, ModelRunner& runner, int layer, const EnergyInputs& inputs, std::uint64_t seed);

/// Fills in excess and its error from KL on single spans, [spans, basis_kinds, C] of both. Local.
void add_excess(const EffectPlaces& places, const std::vector<float>& kl, EqualEffects& effects);

} // namespace concord::subspaces
