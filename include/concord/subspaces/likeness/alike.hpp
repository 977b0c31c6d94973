#pragma once
/// How alike the features of a concept are in two models, and the means of its phrases. Local.
///
/// Members of c in A are paired with members of c' in B by the correlation of their span values on one half of the documents (each the
/// other's best, r above 0); what is compared are their decoder rows, which took no part in pairing. Rows of the C x C matrix are concepts
/// of A, columns those of B. Chance: the same rows, paired at random.

#include "concord/agreement/matrix/matrix_agreement.hpp"
#include "concord/comm/stop.hpp"
#include "concord/subspaces/bases/bases.hpp"
#include "concord/subspaces/likeness/small_spaces.hpp"

namespace concord::subspaces {

/// The members of a layer: each feature once.
struct LayerMembers {
  std::vector<std::vector<Index>> of_concept; ///< places of its members in `values`
  std::vector<std::vector<SpanEntry>> values; ///< span values of each feature
  SmallSpace decoder;                         ///< rows in the same order
};

/// A score beside what pairing at random gives.
struct AgainstShuffled {
  Index pairs = 0;
  SmallScores score{}, mean{}, p{}; ///< mean of shuffled scores; p = (b + 1) / (K + 1)
};

struct Alike {
  std::vector<Index> pairs;              ///< [C, C] paired features
  std::vector<SmallScores> matrix;       ///< [C, C]; NaN below least_pairs
  std::vector<AgainstShuffled> features; ///< [C] of the same concept in both models
  std::vector<AgainstShuffled> phrases;  ///< [C] of the means of its phrases, matched by phrase
  std::vector<AgainstShuffled> pseudo{}; ///< [C] the same of words that stand in for them; empty: not looked at
};
AgainstShuffled not_compared();
inline constexpr Index least_pairs = 10;

/// Correlations of the span values of A's features with B's, on spans of one half of the documents: [features of A, features of B].
std::vector<double> span_correlations(const std::vector<Span>& spans, int document_half, const LayerMembers& a, const LayerMembers& b);

/// Concepts [first, last) of A with all of B. Leaves off where `stop` is wanted. @param phrases_a, phrases_b  may be nullptr
Alike compare_concepts(const std::vector<Span>& spans, const LayerMembers& a, const LayerMembers& b, const PhraseMeans* phrases_a,
                       const PhraseMeans* phrases_b, Index first, Index last, Index shuffles, std::uint64_t seed,
                       const comm::StopWithin& stop = comm::StopWithin());

/// Means of the phrases of each concept, matched by phrase (both have the same ones), for concepts [first, last): [concepts], NaN for the
/// others. Leaves off where `stop` is wanted.
std::vector<AgainstShuffled> compare_phrases(const std::vector<Span>& spans, const PhraseMeans& a, const PhraseMeans& b, Index concepts,
                                             Index first, Index last, Index shuffles, std::uint64_t seed,
                                             const comm::StopWithin& stop = comm::StopWithin());

} // namespace concord::subspaces
