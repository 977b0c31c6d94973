#pragma once
/// From best partners to matched features: pairing rules, the paper's filters, significance. Local.

#include "concord/correlate/settings.hpp"

#include "correlate/matching/assignment.hpp"
#include "correlate/matching/significance.hpp"
#include "correlate/pair_correlator.hpp"
#include <array>
#include <set>
#include <string>
#include <vector>

namespace concord::correlate {

/// Texts of the five strongest activations of each feature, fewer when it fires less often.
using TopTokens = std::vector<std::vector<std::string>>;

/// What matching must know of a side's features.
struct MatchSide {
  std::vector<Index> counts; ///< active rows of each feature
  TopTokens tokens;          ///< needed by the token filters, else empty
};

/// B features left behind each step: with a partner, firing often enough, passing the token filters, paired, above min_r, significant.
constexpr std::size_t filter_steps = 6;

/// Of each feature of B; unmatched ones have a = -1 and NaN.
struct Matching {
  std::vector<std::int32_t> a;
  std::vector<double> r;
  std::vector<double> margin;       ///< r less the best r that either feature has with another one
  std::vector<double> p;            ///< of a best r this large by chance: the larger of both features'
  std::vector<double> q;            ///< the same as a false discovery rate over all B features that fire often enough
  std::vector<Index> cofire;        ///< 0 where unmatched
  std::vector<std::uint8_t> mutual; ///< 1 when j is the best of its best, matched or not
  std::array<Index, filter_steps> counts{};
};

/// Chooses the matches of a pair; refers to what it is given. Made where the correlations are whole, on rank 0.
class Matcher {
public:
  Matcher(const PairCorrelation& pair, const MatchRules& rules, const MatchSide& a, const MatchSide& b);
  /// Candidates of greedy and optimal: pairs of either list that pass the filters, with r > min_r.
  std::vector<Edge> edges() const;
  /// Whether a pair passes the filters that do not ask for r.
  bool passes(std::int32_t a, std::int32_t b) const;
  /// The matches; greedy and optimal choose among `edges`. Where `stop` wants an end they are of no use: come to throw_if_wanted().
  Matching match(const std::vector<Edge>& edges, const comm::StopWithin* stop = nullptr) const;
  const BestNull& null_a() const { return null_a_; }
  const BestNull& null_b() const { return null_b_; }

private:
  bool fires(std::int32_t a, std::int32_t b) const;
  bool passes_tokens(std::int32_t a, std::int32_t b) const;
  void pair_by_best(Matching& m) const;
  void pair_by_edges(Matching& m, const std::vector<Edge>& edges, const comm::StopWithin* stop) const;
  void take(Matching& m, std::size_t b, std::int32_t a, double r, Index cofire) const;
  void drop(Matching& m, std::size_t b) const;
  double margin(std::size_t b, std::int32_t a, double r) const;
  void keep_significant(Matching& m) const;
  const PairCorrelation& pair_;
  const MatchRules& rules_;
  const MatchSide& a_;
  const MatchSide& b_;
  BestNull null_a_;
  BestNull null_b_;
};

/// Bounds for PairCorrelator::exceeding that find every pair which an optimal matching of `edges` may have missed: no bound is finite when
/// the places kept of each feature prove that there is none.
struct Bounds {
  std::vector<double> a;
  std::vector<double> b;
  bool none() const;
};
Bounds unproven(const OptimalMatching& matching, const PairCorrelation& pair, const MatchRules& rules, const MatchSide& a,
                const MatchSide& b);

/// Tokens that the published filter drops (arXiv 2410.06981).
const std::set<std::string>& non_concept_tokens();

} // namespace concord::correlate
