#pragma once
/// What the addition of a concept's first direction does to a model's predictions, and whether it writes the concept.
///
/// At an occurrence of c' the rows x of the span behind a layer become x + s m_c u_c. u_c is the first direction of c's basis, turned so
/// that c's own spans lie on its positive side: m_c > 0 is the median of (x - mu) . u_c over the spans of c whose phrases members are
/// chosen on, so s = 1 puts about as much of u_c there as c's own words hold. K_s(c, c') is the KL divergence over the rows that removals
/// are measured at. What is written:
///   W_s(c, c'') = mean of ln sum_{v in V_c''} p'_v - ln sum_{v in V_c''} p_v at the span's last row,
/// V_c'' the first tokens of the spans of c''; a token of two concepts is in none. The mean is over spans of concepts other than c and c'',
/// of phrases that members were not chosen on. Controls: `random` with the lengths of `sae`, `dealt` with those of `residual`.
///
/// "The direction writes c" is refuted for a model where, at s = 1, the contrast W(c, c) - W(c, c'') has a p above 0.05 with labels of c''
/// permuted (inside groups, where there are groups), or is no larger than that of the control. It is not shown where the contrast does not
/// grow from the smallest s to 1: then the change of the predictions, not the direction, does it. The first tokens stand for the concept's
/// words; a direction that writes c as the second token of a word, or later in the text, is not seen to.

#include "concord/agreement/matrix/matrix_agreement.hpp"
#include "concord/corpus/token_reader.hpp"
#include "concord/subspaces/bases/bases.hpp"
#include "concord/subspaces/effects/effects.hpp"

#include <array>

namespace concord::subspaces {

inline constexpr std::array<BasisKind, 6> steered_kinds{BasisKind::sae,   BasisKind::residual, BasisKind::random,
                                                        BasisKind::dealt, BasisKind::means,    BasisKind::lda};

/// The kinds among `removed` that are steered with.
std::vector<BasisKind> kinds_to_steer(const std::vector<BasisKind>& removed);

/// First directions, kind after kind, in each the concepts.
struct SteeringDirections {
  std::vector<BasisKind> kinds;
  Index concepts = 0;
  Index d = 0;
  std::vector<std::vector<double>> unit; ///< [d], empty where the basis, or that whose lengths it takes, has no dimension or c no span
  std::vector<double> length;            ///< m_c, at least 0; NaN there
  std::size_t place(std::size_t kind, Index c) const { return kind * static_cast<std::size_t>(concepts) + static_cast<std::size_t>(c); }
};
/// Reads the rows of the chosen half's spans, each rank those of its share. Collective over `comm`; the same on all ranks and for any
/// number of them. Looks for the stop signal. @throws Error bad_data, io or stopped, agreed.
SteeringDirections steering_directions(const comm::Communicator& comm, const io::RowSource& rows, const std::vector<Span>& spans,
                                       const LayerBases& bases, const std::vector<BasisKind>& kinds, SpanRow row);

/// First tokens of the concepts' spans, each of one concept alone; ascending.
struct ConceptTokens {
  std::vector<std::int32_t> id;
  std::vector<std::int32_t> concept_number; ///< of each
  std::vector<std::int32_t> count;          ///< of each concept
};
/// Of the spans that are not random. Collective over `comm`; the same on all ranks. @throws Error bad_data or io, agreed.
ConceptTokens concept_tokens(const comm::Communicator& comm, const corpus::TokenReader& tokens, const std::vector<Span>& spans,
                             Index concepts);

/// What steering does at spans.
struct SpanSteering {
  std::vector<std::int32_t> span; ///< numbers
  std::vector<double> kl;         ///< [spans, directions] nats; NaN where there is no direction
  std::vector<float> writes;      ///< [spans, directions, concepts] change of the log probability of V_c''; NaN where V_c'' is empty, too
};

class Steering {
public:
  /// @param shard of the model, or the model whole; @param layer behind which rows are changed (-1: the embedding)
  Steering(ModelShard shard, int layer, const SteeringDirections& directions, double strength, const ConceptTokens& tokens, Index after);
  /// Adds what it does to the spans of one context to `out`, on the last shard. The bits of a span do not depend on the others, nor on
  /// shards. Local of a whole model, else one call of every shard.
  void run(const ContextSpans& context, const std::vector<Span>& spans, SpanSteering& out) const;

private:
  void of_span(const ChangedRuns& runs, const ContextSpans& context, const Span& span, SpanSteering& out) const;
  ModelShard shard_;
  int layer_;
  Index after_;
  Index concepts_;
  std::vector<Index> which_; ///< the directions that there are
  std::size_t directions_;   ///< with those that there are not
  at::Tensor step_;          ///< [directions there are, 1, d]: s m_c u_c
  at::Tensor ids_;           ///< of the concepts' tokens
  at::Tensor concept_of_;    ///< of each of them
};

/// Means at one strength, [basis_kinds, halves of the documents, concepts, concepts]; NaN: not measured.
struct SteeringMatrices {
  explicit SteeringMatrices(Index concepts = 0);
  Index concepts = 0;
  std::vector<double> kl;       ///< c added, at the spans of c'
  std::vector<double> kl_error; ///< as in EffectMatrices
  std::vector<double> writes;   ///< c added, first tokens of c''
  std::size_t place(int kind, int half, Index c, Index other) const;
};
/// First within each document, then over documents without the 5 % largest and smallest. Spans in any order. Local.
SteeringMatrices steering_means(const std::vector<Span>& spans, const SpanSteering& steered, const SteeringDirections& directions);

/// W(c, c) against W(c, c'') of one kind, mean of both halves of the documents. Local.
agreement::Contrast writes_contrast(const SteeringMatrices& matrices, BasisKind kind, const std::vector<Index>& groups,
                                    const agreement::AgreementOptions& options);

} // namespace concord::subspaces
