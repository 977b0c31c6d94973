#pragma once
/// Which features of a layer belong to a concept.
///
/// A feature is a candidate where, on the half of the phrases that members are chosen on, its AUC is high enough against spans of other
/// concepts and against random spans, it is active on enough of the phrases, and few enough features reach its AUC by chance: chance are
/// the same spans with the phrases dealt out anew to the concepts, family by family. (A p over occurrences would take those of
/// one phrase for independent.) Members are taken one by one: the next is the candidate that adds most to the AUC of the sum of the
/// members' values, each divided by its mean where it is active. They are reported on the other half.

#include "concord/comm/stop.hpp"
#include "concord/subspaces/settings.hpp"
#include "concord/subspaces/spans/span_values.hpp"

#include <set>

namespace concord::subspaces {

/// What occurs of a concept among the spans.
struct ConceptSpans {
  Index occurrences = 0;
  Index phrases = 0;
  bool defined = false; ///< enough of both
};
std::vector<ConceptSpans> concept_spans(const std::vector<Span>& spans, int concepts, const SubspacesSettings& settings);

/// A feature of a concept. AUCs are [half of the phrases][against others: concepts, random].
struct Member {
  std::int32_t feature = 0;
  double auc[2][2] = {{0.5, 0.5}, {0.5, 0.5}};
  double q = 1;        ///< false discovery rate at its AUC, of the features of the layer
  double coverage = 0; ///< share of the concept's phrases, of the half chosen on, on which it is active
  double scale = 1;    ///< mean of its values that are not 0, on the half chosen on
};

/// How well so many members together tell the concept on phrases that they were not chosen on.
struct Probe {
  Index members = 0;
  double auc = 0; ///< of a logistic regression on their values, fitted on the half chosen on; NaN: too few members
};

struct ConceptMembers {
  bool defined = true;
  Index candidates = 0;
  std::vector<std::int32_t> candidate_features; ///< all of them
  std::vector<Member> members;                  ///< in the order in which they were taken
  std::vector<double> sum_auc_chosen; ///< [members] of the sum of the first so many, on the half chosen on: mean of both kinds of others
  std::vector<double> sum_auc_held;   ///< [members] the same on the other half
  std::vector<Probe> probes;          ///< of 1, 2 and 5 members
};

/// Spans whose phrases were dealt out anew to the concepts, family by family, each concept as many families as before, among those of equal
/// length in tokens (that of most of their spans), on the half that members are chosen on; spans of the other half belong to concept -1.
/// Local.
std::vector<Span> dealt_anew(const std::vector<Span>& spans, std::uint64_t seed, int draw);

/// Features of each concept, chosen by another rule.
using GivenFeatures = std::vector<std::set<std::int32_t>>;

/// Seconds that this rank spent: ranking features, choosing among them.
struct MemberSeconds {
  double membership = 0;
  double members = 0;
};

/// Of every concept that is defined; empty for others. With `given` features those are the candidates, as many of them are members as
/// may be, and no q is known. The same on all ranks, and for any number of them. Collective over `comm`.
/// @param seconds  to which those of this call are added. @throws Error stopped, agreed, where `stop` is wanted.
std::vector<ConceptMembers> choose_members(const comm::Communicator& comm, const std::vector<Span>& spans,
                                           const std::vector<ConceptSpans>& defined, const SpanValues& values,
                                           const SubspacesSettings& settings, std::uint64_t seed, const GivenFeatures* given = nullptr,
                                           const comm::StopWithin& stop = comm::StopWithin(), MemberSeconds* seconds = nullptr);

} // namespace concord::subspaces
