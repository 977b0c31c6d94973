#pragma once
// What the tests of subspaces share: a rank by itself, spans as values, span values from dense ones, pair counts.
#include "concord/core/philox.hpp"
#include "concord/dist/partition.hpp"
#include "concord/subspaces/members/members.hpp"

#include "support/support.hpp"
#include <cmath>
#include <tuple>

namespace concord::subspaces::worlds {

inline std::size_t at(Index i) {
  return static_cast<std::size_t>(i);
}

/// This rank alone: what it makes of everything is what all ranks together must make.
inline const comm::Communicator& alone() {
  static const comm::Communicator instance(MPI_COMM_SELF, boost::mpi::comm_attach);
  return instance;
}

inline auto fields(const Span& s) {
  return std::tuple(s.begin, s.end, s.document, s.concept_number, s.phrase, s.kind, s.random, s.phrase_half, s.document_half);
}

inline void expect_same_spans(const std::vector<Span>& a, const std::vector<Span>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_EQ(fields(a[i]), fields(b[i])) << i;
}

/// Values of each feature on each span.
using Dense = std::vector<std::vector<float>>;

inline std::vector<SpanEntry> entries_of(const std::vector<float>& values) {
  std::vector<SpanEntry> entries;
  for (std::size_t i = 0; i < values.size(); ++i)
    if (values[i] != 0) entries.push_back({static_cast<std::int32_t>(i), values[i]});
  return entries;
}

/// This rank's features of the dense values, as span_values() hands them out.
inline SpanValues share_of(const comm::Communicator& comm, const Dense& dense) {
  const dist::Partition owners{static_cast<Index>(dense.size()), comm.size()};
  std::vector<Index> starts{0};
  std::vector<SpanEntry> entries;
  for (Index f = owners.begin(comm.rank()); f < owners.end(comm.rank()); ++f) {
    const auto of = entries_of(dense[at(f)]);
    entries.insert(entries.end(), of.begin(), of.end());
    starts.push_back(static_cast<Index>(entries.size()));
  }
  return {owners.begin(comm.rank()), std::move(starts), std::move(entries)};
}

/// AUC pair by pair: spans of a concept on a half against spans of equal length, of other concepts or its own random ones. NaN: no pair.
template <typename Value>
double slow_auc(const std::vector<Span>& spans, const std::vector<Value>& values, int concept_number, int half, Others others) {
  double u = 0;
  double pairs = 0;
  for (std::size_t i = 0; i < spans.size(); ++i) {
    const Span& own = spans[i];
    if (own.random || own.concept_number != concept_number || own.phrase_half != half) continue;
    for (std::size_t j = 0; j < spans.size(); ++j) {
      const Span& other = spans[j];
      if (other.concept_number < 0 || other.phrase_half != half || other.length() != own.length()) continue;
      const bool wanted = others == Others::random ? other.random && other.concept_number == concept_number
                                                   : !other.random && other.concept_number != concept_number;
      if (!wanted) continue;
      ++pairs;
      u += values[i] > values[j] ? 1 : values[i] == values[j] ? 0.5 : 0;
    }
  }
  return u / pairs;
}

/// Standard deviations that a count of successes may be off before a test fails: 4, so that a right program fails once in 30,000 looks.
inline double most_by_chance(double share, double draws) {
  return share * draws + 4 * std::sqrt(share * (1 - share) * draws) + 1;
}
inline double least_by_chance(double share, double draws) {
  return share * draws - 4 * std::sqrt(share * (1 - share) * draws) - 1;
}

} // namespace concord::subspaces::worlds
