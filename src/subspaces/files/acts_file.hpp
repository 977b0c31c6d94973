#pragma once
/// Further ways in which subspaces act, in subspaces.h5 (docs/formats.md): groups resample/, equal/ and steering/ of a model, and their
/// claims.

#include "subspaces/acts/equal_energy.hpp"
#include "subspaces/acts/steering.hpp"
#include "subspaces/claim/claim_tests.hpp"

namespace concord::subspaces {

/// The strengths s of `subspaces.steering`. Local. @throws Error config: one is no number, or 0.
std::vector<double> strengths_of(const std::vector<std::string>& steering);

/// Everything that is as long as the concepts, the layers and the pairs. Local: rank 0 has the file.
void lay_out_acts(io::File& file, const Extent& extent, const std::map<std::string, std::vector<double>>& similarity,
                  const std::vector<double>& strengths, const ConceptTokens& tokens);

/// Bytes of its datasets but for those of the claim.
double acts_bytes(const Extent& extent);

/// What is measured of a layer.
struct LayerActs {
  explicit LayerActs(const Extent& extent)
      : resampled(extent.concepts), equal(extent.concepts),
        steered(static_cast<std::size_t>(extent.strengths), SteeringMatrices(extent.concepts)) {}
  EffectMatrices resampled;
  EqualEffects equal;
  SteeringDirections directions;
  std::vector<SteeringMatrices> steered; ///< at each strength
};
/// @param side 'a' or 'b', @param layer its place in the extent; `options` of the contrasts. Local.
void write_acts(io::File& file, const Extent& extent, char side, Index layer, const LayerActs& acts, const std::vector<Index>& groups,
                const agreement::AgreementOptions& options);

/// Tests the claim of resampled removals, of word sets of equal energy and of steering (what is written takes the place of the loss) and
/// writes what they say. `file` is read and written on rank 0 alone; nullptr elsewhere. Collective over `comm`. @throws Error stopped,
/// agreed.
void run_act_claims(const comm::Communicator& comm, io::File* file, const Extent& extent, const ClaimInputs& inputs);

} // namespace concord::subspaces
