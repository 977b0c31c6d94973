#include "correlate/matching/matching.hpp"

#include "concord/core/at.hpp"
#include "concord/core/error.hpp"

#include <algorithm>
#include <limits>

namespace concord::correlate {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double undefined = std::numeric_limits<double>::quiet_NaN();

/// First place of a feature in a list of best partners.
std::size_t first(const BestPartners& best, std::size_t feature) {
  return feature * at(best.places);
}

} // namespace

const std::set<std::string>& non_concept_tokens() {
  static const std::set<std::string> tokens{".", "\n", "\\n", "", " ", "-", ",", "!", "?", "<bos>", "|bos|", "<|endoftext|>", "<pad>"};
  return tokens;
}

Matcher::Matcher(const PairCorrelation& pair, const MatchRules& rules, const MatchSide& a, const MatchSide& b)
    : pair_(pair), rules_(rules), a_(a), b_(b), null_a_(pair.null_a, pair.sample_a, a.counts),
      null_b_(pair.null_b, pair.sample_b, b.counts) {}

bool Matcher::fires(std::int32_t a, std::int32_t b) const {
  return a_.counts[at(a)] >= rules_.min_firings && b_.counts[at(b)] >= rules_.min_firings;
}

bool Matcher::passes_tokens(std::int32_t a, std::int32_t b) const {
  if (!rules_.drop_non_concept && !rules_.need_shared_token) return true;
  const auto& of_a = a_.tokens[at(a)];
  const auto& of_b = b_.tokens[at(b)];
  const auto is_junk = [](const std::string& token) { return non_concept_tokens().contains(token); };
  if (rules_.drop_non_concept && (std::any_of(of_a.begin(), of_a.end(), is_junk) || std::any_of(of_b.begin(), of_b.end(), is_junk)))
    return false;
  const auto in_b = [&](const std::string& token) { return std::find(of_b.begin(), of_b.end(), token) != of_b.end(); };
  return !rules_.need_shared_token || std::any_of(of_a.begin(), of_a.end(), in_b);
}

bool Matcher::passes(std::int32_t a, std::int32_t b) const {
  return fires(a, b) && passes_tokens(a, b);
}

std::vector<Edge> Matcher::edges() const {
  std::vector<Edge> edges;
  const auto add = [&](const BestPartners& best, std::size_t features, bool of_b) {
    for (std::size_t f = 0; f < features; ++f)
      for (std::size_t place = first(best, f); place < first(best, f + 1); ++place) {
        const auto self = static_cast<std::int32_t>(f);
        const auto partner = best.partner[place];
        if (partner < 0 || !(best.r[place] > rules_.min_r)) continue;
        const Edge edge{of_b ? partner : self, of_b ? self : partner, best.r[place], best.cofire[place]};
        if (passes(edge.a, edge.b)) edges.push_back(edge);
      }
  };
  add(pair_.a_to_b, a_.counts.size(), false);
  add(pair_.b_to_a, b_.counts.size(), true);
  const auto order = [](const Edge& x, const Edge& y) { return std::pair(x.a, x.b) < std::pair(y.a, y.b); };
  std::sort(edges.begin(), edges.end(), order);
  edges.erase(std::unique(edges.begin(), edges.end(), [](const Edge& x, const Edge& y) { return x.a == y.a && x.b == y.b; }), edges.end());
  return edges;
}

/// The rules that look at the best partner alone, in the published order of steps.
void Matcher::pair_by_best(Matching& m) const {
  std::vector<Index> chosen(a_.counts.size(), 0); // how many B features choose each A feature, before any filter
  const auto best_a = [&](std::size_t b) { return pair_.b_to_a.partner[first(pair_.b_to_a, b)]; };
  for (std::size_t b = 0; b < b_.counts.size(); ++b)
    if (best_a(b) >= 0) ++chosen[at(best_a(b))];
  std::vector<std::uint8_t> taken(a_.counts.size(), 0);
  for (std::size_t b = 0; b < b_.counts.size(); ++b) {
    const auto a = best_a(b);
    if (a < 0) continue;
    ++m.counts[0];
    if (!fires(a, static_cast<std::int32_t>(b))) continue;
    ++m.counts[1];
    if (!passes_tokens(a, static_cast<std::int32_t>(b))) continue;
    ++m.counts[2];
    if (rules_.pairing == Pairing::mutual && m.mutual[b] == 0) continue;
    if (rules_.pairing == Pairing::paper && chosen[at(a)] > 1 && taken[at(a)]++ != 0) continue;
    ++m.counts[3];
    const auto place = first(pair_.b_to_a, b);
    if (!(pair_.b_to_a.r[place] > rules_.min_r)) continue;
    take(m, b, a, pair_.b_to_a.r[place], pair_.b_to_a.cofire[place]);
  }
}

void Matcher::pair_by_edges(Matching& m, const std::vector<Edge>& edges, const comm::StopWithin* stop) const {
  for (std::size_t b = 0; b < b_.counts.size(); ++b) { // a step counts features of which any candidate is left
    std::array<bool, 3> left{};
    for (std::size_t place = first(pair_.b_to_a, b); place < first(pair_.b_to_a, b + 1); ++place) {
      const auto a = pair_.b_to_a.partner[place];
      if (a < 0) continue;
      const bool firing = fires(a, static_cast<std::int32_t>(b));
      left = {true, left[1] || firing, left[2] || (firing && passes_tokens(a, static_cast<std::int32_t>(b)))};
    }
    for (std::size_t step = 0; step < left.size(); ++step) m.counts[step] += left[step] ? 1 : 0;
  }
  const auto features_a = static_cast<Index>(a_.counts.size());
  const auto features_b = static_cast<Index>(b_.counts.size());
  const auto edge_of_b = rules_.pairing == Pairing::greedy ? greedy_matching(edges, features_a, features_b)
                                                           : optimal_matching(edges, features_a, features_b, rules_.min_r, stop).edge_of_b;
  for (std::size_t b = 0; b < edge_of_b.size(); ++b)
    if (edge_of_b[b] >= 0) {
      ++m.counts[3]; // the edges are above min_r already
      const Edge& edge = edges[at(edge_of_b[b])];
      take(m, b, edge.a, edge.r, edge.cofire);
    }
}

void Matcher::take(Matching& m, std::size_t b, std::int32_t a, double r, Index cofire) const {
  ++m.counts[4];
  m.a[b] = a;
  m.r[b] = r;
  m.cofire[b] = cofire;
  m.margin[b] = margin(b, a, r);
  if (!null_a_.empty()) m.p[b] = std::max(null_a_.p(a, r), null_b_.p(static_cast<Index>(b), r));
}

void Matcher::drop(Matching& m, std::size_t b) const {
  m.a[b] = -1;
  m.r[b] = m.margin[b] = m.p[b] = m.q[b] = undefined;
  m.cofire[b] = 0;
}

double Matcher::margin(std::size_t b, std::int32_t a, double r) const {
  double other = 0;
  const auto look = [&](const BestPartners& best, std::size_t feature, std::int32_t partner) {
    for (std::size_t place = first(best, feature); place < first(best, feature + 1); ++place)
      if (best.partner[place] >= 0 && best.partner[place] != partner) {
        other = std::max(other, best.r[place]);
        return;
      }
  };
  look(pair_.b_to_a, b, a);
  look(pair_.a_to_b, at(a), static_cast<std::int32_t>(b));
  return r - other;
}

/// q over all features of B that fire often enough to be tested: one without a match counts as p = 1, so that choosing matches by r first
/// does not shrink the family.
void Matcher::keep_significant(Matching& m) const {
  std::vector<double> p(m.p.size(), undefined);
  for (std::size_t b = 0; b < p.size(); ++b)
    if (b_.counts[b] >= std::max<Index>(1, rules_.min_firings)) p[b] = m.a[b] >= 0 ? m.p[b] : 1.0;
  const auto q = benjamini_hochberg(p);
  for (std::size_t b = 0; b < p.size(); ++b) {
    if (m.a[b] < 0) continue;
    m.q[b] = q[b];
    if (!null_a_.empty() && !(q[b] <= rules_.max_q))
      drop(m, b);
    else
      ++m.counts[5];
  }
}

Matching Matcher::match(const std::vector<Edge>& edges, const comm::StopWithin* stop) const {
  const auto features = b_.counts.size();
  const std::vector<double> none(features, undefined);
  Matching m{std::vector<std::int32_t>(features, -1), none, none, none, none, std::vector<Index>(features, 0),
             std::vector<std::uint8_t>(features, 0),  {}};
  for (std::size_t b = 0; b < features; ++b)
    if (const auto a = pair_.b_to_a.partner[first(pair_.b_to_a, b)]; a >= 0)
      m.mutual[b] = pair_.a_to_b.partner[first(pair_.a_to_b, at(a))] == static_cast<std::int32_t>(b) ? 1 : 0;
  if (rules_.pairing == Pairing::greedy || rules_.pairing == Pairing::optimal)
    pair_by_edges(m, edges, stop);
  else
    pair_by_best(m);
  keep_significant(m);
  return m;
}

bool Bounds::none() const {
  return std::all_of(a.begin(), a.end(), [](double x) { return x == infinity; }) ||
         std::all_of(b.begin(), b.end(), [](double x) { return x == infinity; });
}

Bounds unproven(const OptimalMatching& matching, const PairCorrelation& pair, const MatchRules& rules, const MatchSide& a,
                const MatchSide& b) {
  constexpr double rounding = 1e-11; // of gains to 2^-40
  // A pair that is in neither list has no larger r than the last place of both. Duals of the other side are at least 0.
  const auto bounds = [&](const BestPartners& best, const std::vector<Index>& counts, const std::vector<double>& dual, double floor) {
    std::vector<double> result(counts.size(), infinity);
    for (std::size_t f = 0; f < counts.size(); ++f) {
      if (counts[f] < rules.min_firings || counts[f] == 0) continue;
      const auto last = first(best, f + 1) - 1;
      if (best.partner[last] >= 0 && best.r[last] > dual[f] + rules.min_r) result[f] = dual[f] + floor;
    }
    return result;
  };
  return {bounds(pair.a_to_b, a.counts, matching.dual_a, rules.min_r + rounding), bounds(pair.b_to_a, b.counts, matching.dual_b, 0.0)};
}

} // namespace concord::correlate
