#include "concord/comm/stop.hpp"
#include "concord/core/at.hpp"
#include "concord/core/philox.hpp"

#include "correlate/matching/matching.hpp"
#include "support/support.hpp"
#include <algorithm>
#include <cmath>
#include <csignal>
#include <map>
#include <numeric>

namespace concord::correlate {
namespace {

/// Lists of one place, as given; r of B's choices, 1 for A's.
PairCorrelation hand_made(std::vector<std::int32_t> b_to_a, std::vector<double> r, std::vector<std::int32_t> a_to_b) {
  PairCorrelation pair;
  pair.b_to_a = {1, b_to_a, std::move(r), std::vector<Index>(b_to_a.size(), 7)};
  pair.a_to_b = {1, a_to_b, std::vector<double>(a_to_b.size(), 1.0), std::vector<Index>(a_to_b.size(), 7)};
  return pair;
}

Matching matched(const PairCorrelation& pair, const MatchRules& rules, const MatchSide& a, const MatchSide& b) {
  const Matcher matcher(pair, rules, a, b);
  return matcher.match(matcher.edges());
}

TEST(Matching, FollowsEachRuleThatLooksAtTheBest) {
  // B features 0, 1 and 3 choose A feature 0, which prefers 3; B 2 chooses A 1, which prefers it; B 4 has no partner.
  const auto pair = hand_made({0, 0, 1, 0, -1}, {0.3, 0.8, 0.6, 0.9, 0}, {3, 2});
  const MatchSide a{{50, 50}, {}};
  const MatchSide b{{50, 50, 50, 50, 0}, {}};
  MatchRules rules;
  using Partners = std::vector<std::int32_t>;
  EXPECT_EQ(matched(pair, rules, a, b).a, (Partners{-1, -1, 1, 0, -1}));
  rules.pairing = Pairing::many_to_one;
  EXPECT_EQ(matched(pair, rules, a, b).a, (Partners{0, 0, 1, 0, -1}));
  rules.pairing = Pairing::paper; // the first of three, not the best
  EXPECT_EQ(matched(pair, rules, a, b).a, (Partners{0, -1, 1, -1, -1}));
  rules.min_r = 0.3; // the cut comes last, so 0 is dropped and nobody moves up
  const auto cut = matched(pair, rules, a, b);
  EXPECT_EQ(cut.a, (Partners{-1, -1, 1, -1, -1}));
  EXPECT_EQ(cut.counts, (std::array<Index, filter_steps>{4, 4, 4, 2, 1, 1}));
  EXPECT_EQ(cut.mutual, (std::vector<std::uint8_t>{0, 0, 1, 1, 0}));
}

TEST(Matching, FiltersRareFeaturesAndTokens) {
  const auto pair = hand_made({0, 1, 2}, {0.9, 0.9, 0.9}, {0, 1, 2});
  const MatchSide plain{{50, 50, 9}, {}};
  MatchRules rules;
  EXPECT_EQ(matched(pair, rules, plain, plain).a, (std::vector<std::int32_t>{0, 1, -1}));
  const MatchSide a{plain.counts, {{" king", " queen"}, {" the", ","}, {" x"}}};
  const MatchSide b{plain.counts, {{" queen"}, {" the"}, {" x"}}};
  rules.min_firings = 0;
  rules.drop_non_concept = true;
  EXPECT_EQ(matched(pair, rules, a, b).a, (std::vector<std::int32_t>{0, -1, 2}));
  rules.drop_non_concept = false;
  rules.need_shared_token = true;
  const MatchSide other_case{plain.counts, {{" Queen"}, {" the"}, {" x"}}};
  EXPECT_EQ(matched(pair, rules, a, other_case).a, (std::vector<std::int32_t>{-1, 1, 2}));
}

TEST(Matching, MarginIsTheLeadOverEitherRunnerUp) {
  PairCorrelation pair;
  pair.b_to_a = {2, {0, 1, 1, 0}, {0.8, 0.3, 0.6, 0.5}, {9, 9, 9, 9}};
  pair.a_to_b = {2, {0, 1, 1, 0}, {0.8, 0.5, 0.6, 0.3}, {9, 9, 9, 9}};
  const MatchSide side{{50, 50}, {}};
  const auto m = matched(pair, MatchRules{}, side, side);
  EXPECT_NEAR(m.margin[0], 0.8 - 0.5, 1e-15); // A 0 also has 0.5 with B 1
  EXPECT_NEAR(m.margin[1], 0.6 - 0.5, 1e-15);
}

TEST(Matching, DropsWhatChanceReaches) {
  // 40 features whose null reaches 0.5; the first ten have r = 0.9, the others 0.4.
  PairCorrelation pair;
  std::vector<std::int32_t> self(40);
  std::iota(self.begin(), self.end(), 0);
  std::vector<double> r(40, 0.4);
  std::fill_n(r.begin(), 10, 0.9);
  pair.b_to_a = pair.a_to_b = {1, self, r, std::vector<Index>(40, 9)};
  pair.null_a = pair.null_b = std::vector<double>(200, 0.5);
  const MatchSide side{std::vector<Index>(40, 30), {}};
  MatchRules rules;
  const auto m = matched(pair, rules, side, side);
  EXPECT_EQ(m.counts[4], 40);
  EXPECT_EQ(m.counts[5], 10);
  EXPECT_NEAR(m.p[3], 1.0 / 201, 1e-15);
  EXPECT_NEAR(m.q[3], 40.0 / 10 / 201, 1e-15);
  EXPECT_EQ(m.a[20], -1);
  rules.max_q = 1;
  EXPECT_EQ(matched(pair, rules, side, side).counts[5], 40);
}

// --- significance ---------------------------------------------------------------------------------------------------

TEST(Significance, BenjaminiHochbergByHand) {
  const auto q = benjamini_hochberg({0.01, 0.04, std::nan(""), 0.03, 0.005});
  EXPECT_NEAR(q[0], 0.02, 1e-15);
  EXPECT_NEAR(q[1], 0.04, 1e-15);
  EXPECT_TRUE(std::isnan(q[2]));
  EXPECT_NEAR(q[3], 0.04, 1e-15);
  EXPECT_NEAR(q[4], 0.02, 1e-15);
}

TEST(Significance, ThresholdIsWherePReachesTheLevel) {
  std::vector<double> null(199);
  for (std::size_t i = 0; i < null.size(); ++i) null[i] = 0.001 * static_cast<double>(i);
  const BestNull best(null, {}, std::vector<Index>(199, 20));
  for (const double level : {0.01, 0.05, 0.5}) {
    const double threshold = best.threshold(7, level);
    EXPECT_LE(best.p(7, threshold + 1e-9), level);
    EXPECT_GT(best.p(7, threshold), level);
  }
  EXPECT_TRUE(std::isinf(best.threshold(7, 0.004))); // fewer than 1/200
  EXPECT_GT(best.p(7, 1.0), 0.0);
}

/// The null of a feature comes from those that fire about as often: here r by chance is 1 / sqrt(count) times something.
TEST(Significance, RareFeaturesHaveTheirOwnNull) {
  const Philox random(3, "null");
  std::vector<Index> counts;
  std::vector<double> null;
  for (std::uint64_t j = 0; j < 20000; ++j) {
    counts.push_back(j % 2 == 0 ? 20 : 5000);
    null.push_back(std::abs(random.normal(j)) / std::sqrt(static_cast<double>(counts.back())));
  }
  const BestNull best(null, {}, counts);
  EXPECT_NEAR(best.threshold(10000, 0.05), 1.96 / std::sqrt(20.0), 0.03);
  EXPECT_NEAR(best.threshold(10001, 0.05), 1.96 / std::sqrt(5000.0), 0.002);
}

/// Best of many of two unrelated sparse matrices, of features that fire at very different rates: p of the true alignment is uniform, for
/// all features and for the rare and the frequent ones by themselves.
TEST(Significance, UnrelatedFeaturesHaveUniformP) {
  const auto random_matrix = [](std::uint64_t seed) {
    const Philox random(seed, "rates");
    io::CsrMatrix m{3000, 600, {0}, {}, {}};
    for (Index r = 0; r < m.rows; ++r) {
      for (Index c = 0; c < m.cols; ++c) {
        const auto i = static_cast<std::uint64_t>(r * m.cols + c);
        if (random.uniform(2 * i) > 0.004 * std::pow(15.0, static_cast<double>(c) / 600.0)) continue;
        m.indices.push_back(static_cast<std::int32_t>(c));
        m.values.push_back(static_cast<float>(std::exp(random.normal(2 * i + 1))));
      }
      m.indptr.push_back(m.nnz());
    }
    return m;
  };
  const MatrixSource a(random_matrix(1));
  const MatrixSource b(random_matrix(2));
  PearsonSettings settings;
  settings.best = 2;
  settings.shifts = {500, 1000, 1500, 2000, 2500};
  PairCorrelator correlator(test::world(), settings);
  correlator.open(a, 0, b, 0);
  const auto pair = correlator.correlate();
  if (test::world().rank() != 0) return;
  const BestNull null(pair.null_b, pair.sample_b, b.totals().count);
  const auto check = [&](Index first, Index last) {
    std::vector<double> p;
    for (Index j = first; j < last; ++j) p.push_back(null.p(j, pair.b_to_a.r[at(2 * j)]));
    std::sort(p.begin(), p.end());
    double distance = 0; // Kolmogorov and Smirnov's
    for (std::size_t i = 0; i < p.size(); ++i) {
      const auto n = static_cast<double>(p.size());
      distance = std::max({distance, static_cast<double>(i + 1) / n - p[i], p[i] - static_cast<double>(i) / n});
    }
    EXPECT_LT(distance * std::sqrt(static_cast<double>(p.size())), 1.63) << first; // its 1 % point
  };
  check(0, 600);
  check(0, 150);
  check(450, 600);
}

// --- one to one -----------------------------------------------------------------------------------------------------

double total(const std::vector<Index>& edge_of_b, const std::vector<Edge>& edges, double floor) {
  double sum = 0;
  for (const Index e : edge_of_b) sum += e < 0 ? 0 : edges[at(e)].r - floor;
  return sum;
}

std::vector<Edge> random_edges(std::uint64_t seed, Index a, Index b, double density) {
  const Philox random(seed, "edges");
  std::vector<Edge> edges;
  for (Index i = 0; i < a; ++i)
    for (Index j = 0; j < b; ++j)
      if (random.uniform(static_cast<std::uint64_t>(2 * (i * b + j))) < density)
        edges.push_back({static_cast<std::int32_t>(i), static_cast<std::int32_t>(j),
                         2 * random.uniform(static_cast<std::uint64_t>(2 * (i * b + j) + 1)) - 0.7, 5});
  return edges;
}

/// The best sum by trying all: f(set of free B features) over A features in turn.
double by_force(const std::vector<Edge>& edges, Index a, Index b, double floor) {
  std::vector<std::vector<double>> r(at(a), std::vector<double>(at(b), -9));
  for (const Edge& e : edges) r[at(e.a)][at(e.b)] = e.r - floor;
  std::vector<double> best(std::size_t{1} << at(b), 0.0);
  for (Index i = 0; i < a; ++i) {
    auto next = best;
    for (std::size_t used = 0; used < best.size(); ++used)
      for (Index j = 0; j < b; ++j)
        if ((used >> at(j) & 1) == 0 && r[at(i)][at(j)] > 0) {
          auto& place = next[used | std::size_t{1} << at(j)];
          place = std::max(place, best[used] + r[at(i)][at(j)]);
        }
    best = next;
  }
  return *std::max_element(best.begin(), best.end());
}

TEST(Assignment, OptimalEqualsTryingAll) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    const Index a = 3 + static_cast<Index>(seed % 7);
    const Index b = 2 + static_cast<Index>(seed % 9);
    const double floor = seed % 3 == 0 ? 0.25 : 0.0;
    const auto edges = random_edges(seed, a, b, seed % 2 == 0 ? 0.9 : 0.4);
    const auto m = optimal_matching(edges, a, b, floor);
    EXPECT_NEAR(m.total, by_force(edges, a, b, floor), 1e-9) << seed;
    EXPECT_NEAR(total(m.edge_of_b, edges, floor), m.total, 1e-9);
    EXPECT_GE(m.total + 1e-12, 0.5 * total(greedy_matching(edges, a, b), edges, floor));
  }
}

TEST(Assignment, EndsWhereAStopIsWanted) {
  const auto edges = random_edges(5, 300, 260, 0.05);
  comm::install_stop_flag(0);
  const comm::StopWithin stop(0);
  const double whole = optimal_matching(edges, 300, 260, 0.1, &stop).total;
  EXPECT_GT(whole, 0);
  std::raise(SIGUSR1);
  EXPECT_EQ(optimal_matching(edges, 300, 260, 0.1, &stop).total, 0);
  comm::install_stop_flag(0);
  EXPECT_EQ(optimal_matching(edges, 300, 260, 0.1, &stop).total, whole);
}

TEST(Assignment, DualsProveTheOptimum) {
  const auto edges = random_edges(5, 300, 260, 0.05);
  const auto m = optimal_matching(edges, 300, 260, 0.1);
  double duals = 0;
  for (const double u : m.dual_a) duals += u;
  for (const double v : m.dual_b) duals += v;
  EXPECT_NEAR(duals, m.total, 1e-9);
  for (const double u : m.dual_a) EXPECT_GE(u, 0);
  for (const double v : m.dual_b) EXPECT_GE(v, 0);
  for (const Edge& e : edges) EXPECT_GE(m.dual_a[at(e.a)] + m.dual_b[at(e.b)] + 1e-11, e.r - 0.1);
  std::vector<int> used(300, 0);
  for (const Index e : m.edge_of_b) {
    if (e < 0) continue;
    EXPECT_EQ(++used[at(edges[at(e)].a)], 1);
  }
}

TEST(Assignment, TransposedEdgesGiveTheSameTotal) {
  auto edges = random_edges(8, 200, 220, 0.06);
  const double straight = optimal_matching(edges, 200, 220, 0).total;
  for (Edge& e : edges) std::swap(e.a, e.b);
  EXPECT_NEAR(optimal_matching(edges, 220, 200, 0).total, straight, 1e-9);
}

TEST(Assignment, EqualWeightsGoToTheSmallestNumbers) {
  std::vector<Edge> edges;
  for (std::int32_t i = 0; i < 4; ++i)
    for (std::int32_t j = 0; j < 3; ++j) edges.push_back({i, j, 0.5, 1});
  EXPECT_EQ(greedy_matching(edges, 4, 3), (std::vector<Index>{0, 4, 8}));
  const auto optimal = optimal_matching(edges, 4, 3, 0);
  EXPECT_EQ(optimal.edge_of_b, (std::vector<Index>{0, 4, 8}));
}

/// With two places a feature the best sum needs pairs that no list holds: the bounds find them, and then nothing is left.
TEST(Assignment, BoundsLeadToTheOptimumOfAllPairs) {
  const Index n = 40;
  const Philox random(11, "all");
  std::vector<Edge> all;
  std::map<std::pair<std::int32_t, std::int32_t>, double> r;
  for (std::int32_t i = 0; i < n; ++i)
    for (std::int32_t j = 0; j < n; ++j) { // some features are liked by all
      const double value = 0.5 * random.uniform(static_cast<std::uint64_t>(i * n + j)) + 0.4 * (i % 5 == 0) + 0.05;
      all.push_back({i, j, value, 3});
      r[{i, j}] = value;
    }
  PairCorrelation pair;
  pair.a_to_b = pair.b_to_a = {2, std::vector<std::int32_t>(at(2 * n)), std::vector<double>(at(2 * n)), std::vector<Index>(at(2 * n), 3)};
  for (std::int32_t f = 0; f < n; ++f) {
    std::vector<std::int32_t> order(at(n));
    std::iota(order.begin(), order.end(), 0);
    const auto fill = [&](BestPartners& best, auto&& value) {
      std::stable_sort(order.begin(), order.end(), [&](auto x, auto y) { return value(x) > value(y); });
      for (Index place = 0; place < 2; ++place) {
        best.partner[at(2 * f + place)] = order[at(place)];
        best.r[at(2 * f + place)] = value(order[at(place)]);
      }
      std::sort(order.begin(), order.end());
    };
    fill(pair.a_to_b, [&](std::int32_t j) { return r[{f, j}]; });
    fill(pair.b_to_a, [&](std::int32_t i) { return r[{i, f}]; });
  }
  MatchRules rules;
  rules.pairing = Pairing::optimal;
  const MatchSide side{std::vector<Index>(at(n), 50), {}};
  const Matcher matcher(pair, rules, side, side);
  auto edges = matcher.edges();
  const double best = optimal_matching(all, n, n, 0).total;
  EXPECT_LT(optimal_matching(edges, n, n, 0).total, best - 1e-6);
  bool proven = false;
  for (int round = 0; round < 20 && !proven; ++round) {
    const auto bounds = unproven(optimal_matching(edges, n, n, 0), pair, rules, side, side);
    const auto before = edges.size();
    for (const Edge& e : all)
      if (e.r > bounds.a[at(e.a)] + bounds.b[at(e.b)]) edges.push_back(e);
    proven = bounds.none() || edges.size() == before;
  }
  EXPECT_TRUE(proven);
  EXPECT_NEAR(optimal_matching(edges, n, n, 0).total, best, 1e-9);
}

} // namespace
} // namespace concord::correlate
