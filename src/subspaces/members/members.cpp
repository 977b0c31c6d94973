#include "concord/subspaces/members/members.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/core/at.hpp"
#include "concord/core/run/stopwatch.hpp"

#include "subspaces/members/dealing.hpp"
#include "subspaces/members/dealt_ranking.hpp"
#include "subspaces/members/one_concept.hpp"
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <set>
#include <tuple>

namespace concord::subspaces {
namespace {

double smaller(double a, double b) {
  return std::isnan(a) || std::isnan(b) ? std::numeric_limits<double>::quiet_NaN() : std::min(a, b);
}

/// A feature that may belong to a concept.
struct Candidate {
  std::int32_t concept_number = 0;
  Member member;
  /// The smaller AUC on the half chosen on; NaN where one is not known.
  double strength() const { return smaller(member.auc[0][0], member.auc[0][1]); }
};

constexpr Index bins = 2000; // of AUCs from 0 to 1; 1 has one of its own

/// How many features reach an AUC, for each concept: [concepts, bins + 1], from above.
class Reached {
public:
  explicit Reached(std::size_t concepts) : counts_(concepts * width) {}
  void add(std::size_t c, double auc) { ++counts_[c * width + bin(auc)]; }
  /// From counts in bins to counts at or above each. Collective.
  void sum_up(const comm::Communicator& comm) {
    comm::sum(comm, counts_);
    for (std::size_t i = counts_.size() - 1; i > 0; --i)
      if (i % width != 0) counts_[i - 1] += counts_[i];
  }
  Index at_least(std::size_t c, std::size_t of_bin) const { return counts_[c * width + of_bin]; }
  static std::size_t bin(double auc) { return static_cast<std::size_t>(auc * static_cast<double>(bins)); }
  static constexpr std::size_t width = bins + 1;

private:
  std::vector<Index> counts_;
};

std::vector<bool> looked_at(const std::vector<ConceptSpans>& defined) {
  std::vector<bool> looked_at;
  looked_at.reserve(defined.size());
  for (const ConceptSpans& of : defined) looked_at.push_back(of.defined);
  return looked_at;
}

/// Ranks features with the phrases as they are and as they are dealt out anew.
class Finder {
public:
  Finder(const std::vector<Span>& spans, const std::vector<ConceptSpans>& defined, const SubspacesSettings& settings, std::uint64_t seed)
      : spans_(spans), defined_(defined), settings_(settings), ranking_(spans, static_cast<int>(defined.size())),
        deals_(spans, looked_at(defined), settings.min_auc), phrases_(defined.size()), found_(defined.size()), by_chance_(defined.size()) {
    for (const Span& span : spans)
      if (!span.random && span.phrase_half == 0) phrases_[at(span.concept_number)].insert(span.phrase);
    std::vector<std::int32_t> of_lists;
    of_lists.reserve(spans.size());
    for (const Span& span : spans) of_lists.push_back(span.concept_number);
    deals_.add_deal(of_lists);
    const Dealing dealing(spans);
    for (int draw = 0; draw < settings.label_draws; ++draw) deals_.add_deal(dealing.concepts(seed, draw));
  }

  void add(std::int32_t feature, std::span<const SpanEntry> values) {
    if (given_ != nullptr) {
      add_given(feature, values);
      return;
    }
    bool is_ranked = false;
    for (const auto& hit : deals_.hits(values)) {
      if (hit.deal > 0) {
        by_chance_.add(at(hit.concept_number), hit.auc);
        continue;
      }
      if (!is_ranked) ranking_.rank(values);
      is_ranked = true;
      Candidate candidate = of_concept(hit.concept_number);
      candidate.member.feature = feature;
      fill(candidate, values);
      if (candidate.member.coverage < settings_.min_coverage) continue;
      found_.add(at(hit.concept_number), candidate.strength());
      candidates_.push_back(candidate);
    }
  }

  /// From now on candidates are those features of each concept, whatever their AUC.
  void take_only(const GivenFeatures& given) { given_ = &given; }

  /// This rank's candidates that are no more than max_q of them by chance. Collective.
  std::vector<Candidate> survivors(const comm::Communicator& comm) {
    if (given_ != nullptr) return candidates_;
    found_.sum_up(comm);
    by_chance_.sum_up(comm);
    const auto windows = like_sized();
    std::vector<Candidate> good;
    for (auto& candidate : candidates_) {
      candidate.member.q = q(at(candidate.concept_number), Reached::bin(candidate.strength()), windows[at(candidate.concept_number)]);
      if (candidate.member.q <= settings_.max_q) good.push_back(candidate);
    }
    return good;
  }

private:
  void add_given(std::int32_t feature, std::span<const SpanEntry> values) {
    ranking_.rank(values);
    for (std::size_t c = 0; c < defined_.size(); ++c) {
      if (!defined_[c].defined || !(*given_)[c].contains(feature)) continue;
      Candidate candidate = of_concept(static_cast<int>(c));
      candidate.member.feature = feature;
      candidate.member.q = std::numeric_limits<double>::quiet_NaN();
      fill(candidate, values);
      candidates_.push_back(candidate);
    }
  }

  Candidate of_concept(int c) const {
    Candidate candidate;
    candidate.concept_number = c;
    for (const int half : {0, 1})
      for (const Others others : {Others::concepts, Others::random})
        candidate.member.auc[half][static_cast<int>(others)] = ranking_.auc(c, half, others);
    return candidate;
  }

  /// Coverage and scale.
  void fill(Candidate& candidate, std::span<const SpanEntry> values) const {
    std::set<std::int32_t> covered;
    double sum = 0;
    double count = 0;
    for (const SpanEntry& entry : values) {
      const Span& span = spans_[at(entry.span)];
      if (span.phrase_half != 0) continue;
      sum += entry.value;
      ++count;
      if (!span.random && span.concept_number == candidate.concept_number) covered.insert(span.phrase);
    }
    candidate.member.coverage =
        static_cast<double>(covered.size()) / static_cast<double>(std::max<std::size_t>(1, phrases_[at(candidate.concept_number)].size()));
    if (count > 0) candidate.member.scale = sum / count;
  }

  /// For each concept those with about as many phrases, itself among them: their chance is pooled.
  std::vector<std::vector<std::size_t>> like_sized() const {
    constexpr std::size_t together = 9;
    std::vector<std::size_t> order;
    for (std::size_t c = 0; c < defined_.size(); ++c)
      if (defined_[c].defined) order.push_back(c);
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return phrases_[a].size() < phrases_[b].size(); });
    std::vector<std::vector<std::size_t>> windows(defined_.size());
    for (std::size_t i = 0; i < order.size(); ++i) {
      const std::size_t count = std::min(together, order.size());
      const std::size_t first = std::min(i - std::min(i, together / 2), order.size() - count);
      windows[order[i]].assign(order.begin() + static_cast<std::ptrdiff_t>(first),
                               order.begin() + static_cast<std::ptrdiff_t>(first + count));
    }
    return windows;
  }

  /// Expected by chance over found, at this AUC or the lowest one above min_auc at which it is less.
  double q(std::size_t c, std::size_t bin, const std::vector<std::size_t>& window) const {
    double least = 1;
    for (std::size_t b = Reached::bin(settings_.min_auc); b <= bin; ++b) {
      Index chance = 1; // as if one more draw had found one
      for (const std::size_t like : window) chance += by_chance_.at_least(like, b);
      const double expected = static_cast<double>(chance) / static_cast<double>(settings_.label_draws * static_cast<Index>(window.size()));
      least = std::min(least, expected / static_cast<double>(std::max<Index>(1, found_.at_least(c, b))));
    }
    return least;
  }

  const std::vector<Span>& spans_;
  const std::vector<ConceptSpans>& defined_;
  const SubspacesSettings& settings_;
  SpanRanking ranking_;
  DealtRanking deals_;                          ///< the first is that of the lists
  std::vector<std::set<std::int32_t>> phrases_; ///< of each concept, on the half chosen on
  Reached found_, by_chance_;
  std::vector<Candidate> candidates_;
  const GivenFeatures* given_ = nullptr;
};

/// The best candidates of each concept, from all ranks, in the order of their AUC: as many as members are searched among.
std::vector<Candidate> best_of_all(const comm::Communicator& comm, std::vector<Candidate> good, const SubspacesSettings& settings,
                                   std::vector<ConceptMembers>& chosen) {
  std::vector<Index> counts(chosen.size());
  for (const auto& candidate : good) ++counts[at(candidate.concept_number)];
  comm::sum(comm, counts);
  std::vector<std::int32_t> flat; // concept and feature in turn
  for (const auto& candidate : good) flat.insert(flat.end(), {candidate.concept_number, candidate.member.feature});
  flat = comm::all_gather(comm, flat);
  for (std::size_t i = 0; i < flat.size(); i += 2) chosen[at(flat[i])].candidate_features.push_back(flat[i + 1]);
  for (std::size_t c = 0; c < chosen.size(); ++c) chosen[c].candidates = counts[c];
  const auto before = [](const Candidate& a, const Candidate& b) {
    return std::tuple(a.concept_number, -a.strength(), a.member.feature) < std::tuple(b.concept_number, -b.strength(), b.member.feature);
  };
  const auto keep_best = [&](std::vector<Candidate>& candidates) {
    std::sort(candidates.begin(), candidates.end(), before);
    std::vector<Candidate> kept;
    Index of_concept = 0;
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      of_concept = i > 0 && candidates[i].concept_number == candidates[i - 1].concept_number ? of_concept + 1 : 0;
      if (of_concept < settings.max_members) kept.push_back(candidates[i]);
    }
    candidates = std::move(kept);
  };
  keep_best(good);
  auto all = comm::all_gather(comm, good);
  keep_best(all);
  return all;
}

struct CandidateEntry {
  std::int32_t candidate; ///< its number in the list of all
  SpanEntry entry;
};

/// The values of the candidates of the concepts that this rank looks after, candidate by candidate: concept c is the work of rank c mod
/// ranks.
std::vector<CandidateEntry> values_of_my_concepts(const comm::Communicator& comm, const std::vector<Candidate>& all,
                                                  const SpanValues& values) {
  std::vector<CandidateEntry> out;
  std::vector<Index> begin;
  std::vector<Index> count;
  for (int rank = 0; rank < comm.size(); ++rank) {
    begin.push_back(static_cast<Index>(out.size()));
    for (std::size_t i = 0; i < all.size(); ++i) {
      const Index feature = all[i].member.feature - values.begin();
      if (all[i].concept_number % comm.size() != rank || feature < 0 || feature >= values.count()) continue;
      for (const SpanEntry& entry : values.of(feature)) out.push_back({static_cast<std::int32_t>(i), entry});
    }
    count.push_back(static_cast<Index>(out.size()) - begin.back());
  }
  auto mine = comm::exchange(comm, out, begin, count);
  // A feature is on one rank, so the values of a candidate came together, in the order of the spans.
  std::stable_sort(mine.begin(), mine.end(), [](const CandidateEntry& a, const CandidateEntry& b) { return a.candidate < b.candidate; });
  return mine;
}

/// A member with its place, as ranks hand it on.
struct Record {
  std::int32_t concept_number;
  Member member;
  double sum_auc_chosen;
  double sum_auc_held;
};
struct ProbeRecord {
  std::int32_t concept_number;
  Probe probe;
};

void add_records(std::int32_t c, const ConceptMembers& result, std::vector<Record>& records, std::vector<ProbeRecord>& probes) {
  for (std::size_t i = 0; i < result.members.size(); ++i)
    records.push_back({c, result.members[i], result.sum_auc_chosen[i], result.sum_auc_held[i]});
  for (const Probe& probe : result.probes) probes.push_back({c, probe});
}

} // namespace

std::vector<ConceptSpans> concept_spans(const std::vector<Span>& spans, int concepts, const SubspacesSettings& settings) {
  std::vector<ConceptSpans> found(at(concepts));
  std::vector<std::set<std::int32_t>> phrases(at(concepts));
  for (const Span& span : spans) {
    if (span.random) continue;
    ++found[at(span.concept_number)].occurrences;
    phrases[at(span.concept_number)].insert(span.phrase);
  }
  for (std::size_t c = 0; c < found.size(); ++c) {
    found[c].phrases = static_cast<Index>(phrases[c].size());
    found[c].defined = found[c].occurrences >= settings.min_occurrences && found[c].phrases >= settings.min_phrases;
  }
  return found;
}

std::vector<Span> dealt_anew(const std::vector<Span>& spans, std::uint64_t seed, int draw) {
  const auto concepts = Dealing(spans).concepts(seed, draw);
  std::vector<Span> anew = spans;
  for (std::size_t i = 0; i < anew.size(); ++i) anew[i].concept_number = concepts[i];
  return anew;
}

std::vector<ConceptMembers> choose_members(const comm::Communicator& comm, const std::vector<Span>& spans,
                                           const std::vector<ConceptSpans>& defined, const SpanValues& values,
                                           const SubspacesSettings& settings, std::uint64_t seed, const GivenFeatures* given,
                                           const comm::StopWithin& stop, MemberSeconds* seconds) {
  MemberSeconds unused;
  Stopwatch watch(seconds != nullptr ? seconds->membership : unused.membership);
  std::optional<Finder> finder;
  comm::agree(comm, [&] {
    finder.emplace(spans, defined, settings, seed);
    if (given != nullptr) finder->take_only(*given);
    for (Index i = 0; i < values.count() && !stop.wanted_here(); ++i)
      finder->add(static_cast<std::int32_t>(values.begin() + i), values.of(i));
  });
  stop.throw_if_wanted(comm, "subspaces");
  std::vector<ConceptMembers> chosen(defined.size());
  for (std::size_t c = 0; c < chosen.size(); ++c) chosen[c].defined = defined[c].defined;
  const auto all = best_of_all(comm, finder->survivors(comm), settings, chosen);
  finder.reset();
  watch.go_on_with(seconds != nullptr ? seconds->members : unused.members);
  const auto entries = values_of_my_concepts(comm, all, values);
  std::vector<Record> records;
  std::vector<ProbeRecord> probes;
  comm::agree(comm, [&] {
    std::size_t candidate = 0; // those of a concept stand together
    auto entry = entries.begin();
    for (std::int32_t c = 0; c < static_cast<std::int32_t>(defined.size()) && !stop.wanted_here(); ++c) {
      const bool mine = c % comm.size() == comm.rank() && defined[at(c)].defined;
      if (!mine) continue;
      OneConcept work(spans, c);
      while (candidate < all.size() && all[candidate].concept_number < c) ++candidate;
      for (; candidate < all.size() && all[candidate].concept_number == c; ++candidate) {
        work.add_candidate(all[candidate].member);
        for (; entry != entries.end() && at(entry->candidate) == candidate; ++entry) work.add_value(entry->entry);
      }
      add_records(c, work.choose(settings.max_members, given != nullptr ? settings.max_members : settings.k), records, probes);
    }
  });
  stop.throw_if_wanted(comm, "subspaces");
  for (const auto& record : comm::all_gather(comm, records)) {
    ConceptMembers& of = chosen[at(record.concept_number)];
    of.members.push_back(record.member);
    of.sum_auc_chosen.push_back(record.sum_auc_chosen);
    of.sum_auc_held.push_back(record.sum_auc_held);
  }
  for (const auto& record : comm::all_gather(comm, probes)) chosen[at(record.concept_number)].probes.push_back(record.probe);
  return chosen;
}

} // namespace concord::subspaces
