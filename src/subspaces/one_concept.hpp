#pragma once
/// Members and probes of one concept, from the values of its candidates. Local.

#include "concord/subspaces/members.hpp"

#include <map>

namespace concord::subspaces {

class OneConcept {
public:
  /// Of the spans only those that are compared with the concept's: occurrences, and the random spans beside its own.
  OneConcept(const std::vector<Span>& spans, int concept_number);
  void add_candidate(std::int32_t number, const Member& member);
  /// In the order of the spans for each candidate.
  void add_value(std::int32_t number, const SpanEntry& entry);
  /// At least `k` members where there are so many candidates; more as long as each adds to the AUC.
  ConceptMembers choose(Index max_members, Index k);

private:
  struct Candidate {
    Member member;
    std::vector<SpanEntry> values; ///< by the numbers of the spans that are kept, divided by the scale
    bool taken = false;
  };
  double sum_auc(const std::vector<float>& sum, const std::vector<SpanEntry>& added, int half);
  double mean_auc(int half) const;
  Probe probe(const ConceptMembers& chosen, Index members);

  std::vector<std::int32_t> kept_; ///< [spans] number among those kept, -1: left out
  std::vector<Span> spans_;        ///< those kept: the concept is 0, all others 1
  SpanRanking ranking_;
  std::map<std::int32_t, Candidate> candidates_;
  std::map<std::int32_t, std::int32_t> number_of_feature_;
};

} // namespace concord::subspaces
