#pragma once
/// From effects on single spans to means over documents. Local.

#include "concord/subspaces/effects/effects.hpp"

#include "subspaces/files/result_file.hpp"

namespace concord::subspaces {

/// Which spans subspaces are removed at: of each concept, kind of span and half of the documents up to `most` occurrences of the phrases
/// that members were not chosen on, drawn at random. Numbers, ascending.
std::vector<std::int32_t> effect_spans(const std::vector<Span>& spans, Index most, std::uint64_t seed);

/// The bases that are removed, in the order of SpanEffects: kind after kind, in each kind the concepts. Bases without a dimension are
/// there.
struct RemovedBases {
  std::vector<BasisKind> kinds;
  Index concepts = 0;
};

/// First the mean within each document, then the mean over documents without the 5 % largest and smallest; energies, of all documents, as a
/// share of the spans' whole energy.
/// Errors: the standard deviation of the documents' means over the root of their number. NaN where a basis has no dimension.
EffectMatrices effect_means(const std::vector<Span>& spans, const SpanEffects& effects, const RemovedBases& removed,
                            const LayerBases& bases);

} // namespace concord::subspaces
