#pragma once
/// Members and probes of one concept, from the values of its candidates. Local.

#include "concord/subspaces/members/members.hpp"

#include <vector>

namespace concord::subspaces {

class OneConcept {
public:
  /// Of the spans only those that are compared with the concept's: occurrences, and the random spans beside its own.
  OneConcept(const std::vector<Span>& spans, int concept_number);
  /// In falling order of their AUC.
  void add_candidate(const Member& member);
  /// Of the candidate that was added last, in the order of the spans.
  void add_value(const SpanEntry& entry);
  /// At least `k` members where there are so many candidates; more as long as each adds to the AUC.
  ConceptMembers choose(Index max_members, Index k);

private:
  struct Candidate {
    Member member;
    std::vector<SpanEntry> values; ///< by the numbers of the spans that are kept, divided by the scale
    bool taken = false;
  };
  /// Spans on which some members have a value.
  struct Touched {
    std::vector<std::int32_t> spans; ///< ascending
    std::vector<float> values;       ///< [spans, members]
  };
  double auc_with(const Candidate& candidate);
  double held_auc();
  void take(Candidate& candidate);
  double mean_auc(int half) const;
  Probe probe(const ConceptMembers& chosen, Index members);
  Touched touched_by(std::size_t members) const;
  void count_untouched(int half, const std::vector<std::int32_t>& touched, double (&counted)[2]) const;
  double held_auc_of(const std::vector<double>& w, const Touched& touched);

  std::vector<std::int32_t> kept_; ///< [spans] number among those kept, -1: left out
  std::vector<Span> spans_;        ///< those kept: the concept is 0, all others 1
  SpanRanking ranking_;
  std::vector<Candidate> candidates_;
  std::vector<const Candidate*> members_; ///< in the order in which they were taken
  std::vector<float> sum_;                ///< [kept spans] of the members' values
  std::vector<SpanEntry> ascending_;      ///< what is not 0 of it on the half chosen on
  std::vector<bool> changed_;             ///< [kept spans]
  std::vector<SpanEntry> merged_, new_values_;
};

} // namespace concord::subspaces
