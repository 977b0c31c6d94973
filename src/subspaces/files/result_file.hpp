#pragma once
/// How subspaces.h5 is laid out (docs/formats.md), and its parts as units of work write them. Local: rank 0 has the file.

#include "concord/agreement/matrix/matrix_agreement.hpp"
#include "concord/concepts/occurrences.hpp"
#include "concord/io/hdf5.hpp"
#include "concord/subspaces/bases/bases.hpp"
#include "concord/subspaces/likeness/alike.hpp"

namespace concord::subspaces {

/// All occurrences at which subspaces are removed, and those of each kind of span.
inline constexpr int span_sets = 1 + static_cast<int>(concepts::span_kinds);
inline constexpr int halves = 2;
inline constexpr std::array<Index, 3> probe_members{1, 2, 5};

struct Extent {
  Index concepts = 0;
  Index members = 0; ///< most of a concept
  std::vector<int> layers_a, layers_b;
  bool effects = false;
  bool resampled = false;    ///< effects of resampled removals, too
  Index strengths = 0;       ///< of steering
  bool equal_energy = false; ///< effects of word sets that take as much energy
  bool pseudo = false;       ///< words that stand in for phrases
  Index layers() const { return static_cast<Index>(layers_a.size() + layers_b.size()); }
  Index pairs() const { return static_cast<Index>(layers_a.size() * layers_b.size()); }
};

/// Mean effects of a layer's subspaces, [span_sets, basis_kinds, halves of the documents, concepts, concepts]: row c removed, at the
/// occurrences of column c'. NaN: not measured.
struct EffectMatrices {
  explicit EffectMatrices(Index concepts = 0);
  Index concepts = 0;
  std::vector<double> kl, kl_error, loss, energy;
  std::vector<Index> spans, documents; ///< [span_sets, halves, concepts] that the means are over
  std::vector<float> kl_of_spans;      ///< [removals, basis_kinds, concepts] on single spans, for intervals; empty: not measured
  std::size_t place(int set, int kind, int half, Index c, Index other) const;
  std::size_t place(int set, int half, Index c) const;
  /// One C x C matrix of `values`.
  std::vector<double> matrix(const std::vector<double>& values, int set, int kind, int half) const;
};

struct LayerResult {
  std::vector<ConceptMembers> members;
  LayerBases bases;
  EffectMatrices effects;
};

/// Everything that is as long as the concepts, the layers and the pairs.
void lay_out(io::File& file, const Extent& extent);
/// What the lists and the corpus say.
void write_concepts(io::File& file, const concepts::ConceptLists& lists, const concepts::OccurrenceCounts& counts,
                    const std::vector<ConceptSpans>& defined);
/// @param side 'a' or 'b', @param layer its place in the extent
void write_layer(io::File& file, const Extent& extent, char side, Index layer, const LayerResult& result);
/// Of a layer that was written. @throws Error bad_data.
std::vector<ConceptMembers> read_members(const io::File& file, const Extent& extent, char side, Index layer);
/// Effects in "/a/" (removals to the mean), "/a/resample/", ... @param layers of that side
void lay_out_effects(io::File& file, const Extent& extent, const std::string& group, Index layers);
void write_effects(io::File& file, const std::string& group, Index layer, const EffectMatrices& effects);
EffectMatrices read_effects(const io::File& file, const Extent& extent, const std::string& group, Index layer);
/// Bytes of what lay_out() makes.
double result_bytes(const Extent& extent);
/// Bytes of lay_out_effects() for so many layers.
double effects_bytes(const Extent& extent, double layers);
void write_pair(io::File& file, Index pair, const Alike& alike, const std::vector<agreement::Contrast>& contrasts);

} // namespace concord::subspaces
