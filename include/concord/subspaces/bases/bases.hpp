#pragma once
/// Subspaces of the residual stream that stand for concepts, of dimension k, or less where there are fewer members, from features and
/// without them.

#include "concord/agreement/subspace.hpp"
#include "concord/comm/node/node_floats.hpp"
#include "concord/io/rows/row_source.hpp"
#include "concord/subspaces/members/members.hpp"

#include <optional>
#include <string>
#include <vector>

namespace concord::subspaces {

using agreement::Basis;

/// Where a concept's subspace comes from.
///   sae       the members' decoder rows, unit norm: the first k left singular vectors
///   residual  without features: those of the means of the concept's phrases less that of all phrases of that half (between-class SVD)
///   random    as sae, with a random direction in the place of each member's decoder row: what a frozen random decoder gives
///   matched   as sae, of features that are candidates of no concept, alike in firing rate and decoder norm, one for each member
///   dealt     as residual, with the phrases dealt out anew to the concepts: a concept of words without a common meaning
///   means     without features, only where it is asked for, as the next two: the mean of the concept's phrases less that of all others
///   lda       the direction that tells them apart best, S^-1 times `means`, S the covariance of all phrases (linear_bases.hpp)
///   leace     as means, but what is taken along it is what lda reads off (Basis::read): after that no linear classifier sees the concept
///   pseudo    as residual, of words of no concept that stand in for its phrases, alike in frequency and in length, less their own mean
///             (concepts/stand_ins.hpp); only where it is asked for
/// Members and phrases are those of the half that members are chosen on. random, matched, dealt and pseudo are controls.
enum class BasisKind { sae, residual, random, matched, dealt, means, lda, leace, pseudo };
inline constexpr int basis_kinds = 9;
const char* name_of(BasisKind kind);

/// Means of the residual stream over the spans of each phrase, phrases in ascending order.
struct PhraseMeans {
  Index d = 0;
  std::vector<std::int32_t> phrase;
  std::vector<Index> spans;  ///< of each
  std::vector<double> means; ///< [phrases, d]
  /// The mean of the phrases with a span in this half, each counted once. @throws Error bad_data: there is none.
  std::vector<double> centre(const std::vector<std::int8_t>& half_of_phrase, int half) const;
};

/// Both, of the phrases that both have. Local.
std::pair<PhraseMeans, PhraseMeans> of_common_phrases(const PhraseMeans& a, const PhraseMeans& b);

/// Reads the rows at the occurrences among `spans`, each rank those of its share. Collective over `comm`; equal to rounding for any number
/// of ranks. Looks for the stop signal. @throws Error bad_data, io or stopped, agreed.
PhraseMeans phrase_means(const comm::Communicator& comm, const io::RowSource& rows, const std::vector<Span>& spans, SpanRow row,
                         const comm::StopWithin& stop = comm::StopWithin());

/// Of the covariance of a layer's phrases, those of the half that members are chosen on.
struct LayerWhitening {
  Index rows = 0;
  double shrinkage = 0; ///< Ledoit-Wolf's, where there are fewer rows than 5 d; else 0
  agreement::Whitening whitening;
};

/// The bases of a layer.
struct LayerBases {
  Index d = 0;
  std::vector<double> centre;              ///< [d] what removal leaves in the place of what it takes: the mean of the phrases chosen on
  std::vector<std::vector<Basis>> of;      ///< [basis_kinds][concepts], of fewer than k dimensions where there are fewer members
  std::optional<LayerWhitening> whitening; ///< where lda or leace was asked for
};

/// What bases of features are made of.
struct LayerFeatures {
  const comm::NodeFloats* decoder = nullptr; ///< [F, d]
  Index d = 0;
  std::vector<Index> count; ///< [F] rows on which each is active
};

/// Local. @param seed of `dealt`, the same for both models; @param own_seed of `random` and `matched`, of this layer alone
/// @param means of the layer; nullptr: bases of phrases are empty, and removal is to zero
/// @param further means, lda or leace: the others of these are empty
LayerBases make_bases(const std::vector<Span>& spans, const std::vector<ConceptMembers>& members, const LayerFeatures& features,
                      const PhraseMeans* means, Index k, std::uint64_t seed, std::uint64_t own_seed,
                      const std::vector<BasisKind>& further = {});

/// Bases made as `residual` of these spans' means, less their own centre; of no dimension where a concept is not defined or has none.
/// Local.
std::vector<Basis> phrase_bases(const std::vector<Span>& spans, const std::vector<ConceptMembers>& members, const PhraseMeans& means,
                                Index k);

/// The phrases of the half that members are chosen on: their means, and the concept of each.
struct RowsOfConcepts {
  Index d = 0;
  std::vector<double> rows;                 ///< [n, d]
  std::vector<std::int32_t> concept_number; ///< [n]; below 0: of none
};
RowsOfConcepts rows_chosen_on(const std::vector<Span>& spans, const PhraseMeans& means);

/// Whose phrases `dealt` is made of: [concepts, concepts], how many of the concept as dealt (row) the lists give to a concept (column).
/// Effects of `dealt` on a concept are larger where it holds words of that concept, in any model that knows the concept: its agreement is
/// judged beside this. Local.
std::vector<double> dealt_counts(const std::vector<Span>& spans, Index concepts, std::uint64_t seed);

} // namespace concord::subspaces
