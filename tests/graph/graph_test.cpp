// Links, cycles and components against what the definitions say, pair by pair.
#include "concord/core/at.hpp"
#include "concord/core/philox.hpp"
#include "concord/graph/components.hpp"
#include "concord/graph/cycles.hpp"
#include "concord/graph/graph.hpp"

#include "support/support.hpp"
#include <set>

namespace concord::graph {
namespace {

/// Random links between features; one in four leads nowhere.
std::vector<std::int32_t> random_links(std::uint64_t seed, Index from, Index to) {
  const Philox random(seed, "links");
  std::vector<std::int32_t> links(at(from));
  for (std::size_t i = 0; i < links.size(); ++i) {
    const auto draw = static_cast<std::int32_t>(random.uniform(i) * static_cast<double>(to) * 4 / 3);
    links[i] = draw < to ? draw : -1;
  }
  return links;
}

TEST(Cycles, MutualLinksLeadBack) {
  const Links links{{2, 0, 2, -1}, {1, -1, 2}};
  EXPECT_EQ(mutual(links).to_b, (std::vector<std::int32_t>{-1, 0, 2, -1}));
  EXPECT_EQ(mutual(links).to_a, (std::vector<std::int32_t>{1, -1, 2}));
  EXPECT_EQ(mutual({links.to_a, links.to_b}).to_a, mutual(links).to_b);
}

TEST(Cycles, CountPathsAndThoseThatClose) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const auto ab = random_links(3 * seed, 5, 4), bc = random_links(3 * seed + 1, 4, 6), ca = random_links(3 * seed + 2, 6, 5);
    Cycles plain;
    for (int a = 0; a < 5; ++a)
      for (int b = 0; b < 4; ++b)
        for (int c = 0; c < 6; ++c) {
          if (ab[at(a)] != b || bc[at(b)] != c || ca[at(c)] < 0) continue;
          ++plain.begun;
          plain.closed += ca[at(c)] == a ? 1 : 0;
        }
    const auto found = cycles(ab, bc, ca);
    EXPECT_EQ(found.begun, plain.begun);
    EXPECT_EQ(found.closed, plain.closed);
  }
  EXPECT_EQ(cycles({1, 0}, {0, 1}, {1, 0}).closed, 2);
  EXPECT_EQ(cycles({}, {}, {}).begun, 0);
}

TEST(Cycles, RefuseLinksToNowhere) {
  test::expect_error(ExitCode::bad_data, "a link names feature 7 of 2", [] { cycles({7}, {0, 1}, {0}); });
  test::expect_error(ExitCode::bad_data, "a link names feature 3 of 1", [] { mutual({{3}, {0}}); });
}

TEST(Components, AreThoseOfAPlainSearch) {
  const std::vector<Index> features{4, 3, 5};
  const Philox random(5, "edges");
  for (std::uint64_t draw = 0; draw < 30; ++draw) {
    Components graph(features);
    std::vector<std::set<int>> sets(12);
    for (int i = 0; i < 12; ++i) sets[at(i)] = {i};
    for (std::uint64_t edge = 0; edge < draw % 8; ++edge) {
      const int one = static_cast<int>(random.uniform(100 * draw + 2 * edge) * 12);
      const int other = static_cast<int>(random.uniform(100 * draw + 2 * edge + 1) * 12);
      graph.join(one, other);
      std::set<int> joined = sets[at(one)];
      joined.insert(sets[at(other)].begin(), sets[at(other)].end());
      for (const int node : joined) sets[at(node)] = joined;
    }
    const auto found = graph.found();
    const auto model_of = [](int node) { return node < 4 ? 0 : node < 7 ? 1 : 2; };
    std::set<std::set<int>> large;
    for (int node = 0; node < 12; ++node) {
      const auto& own = sets[at(node)];
      EXPECT_EQ(found.of_node[at(node)] >= 0, own.size() > 1);
      if (own.size() < 2) continue;
      large.insert(own);
      std::vector<std::int32_t> counts(3, 0);
      std::set<int> models;
      for (const int other : own) {
        EXPECT_EQ(found.of_node[at(other)], found.of_node[at(node)]);
        ++counts[at(model_of(other))];
        models.insert(model_of(other));
      }
      EXPECT_EQ(found.features[at(found.of_node[at(node)])], counts);
      EXPECT_EQ(found.models[at(found.of_node[at(node)])], static_cast<int>(models.size()));
    }
    EXPECT_EQ(found.features.size(), large.size());
  }
}

TEST(Graph, TriplesAreThoseWithAllPairs) {
  GraphOptions options;
  options.models = {"a", "b", "c", "d"};
  const auto add = [&](int a, int b) { options.pairs.push_back({a, b, "", ""}); };
  add(0, 1);
  add(2, 1);
  EXPECT_TRUE(triples(options).empty());
  add(2, 0);
  add(3, 1);
  EXPECT_EQ(triples(options), (std::vector<std::vector<int>>{{0, 1, 2}}));
  EXPECT_TRUE(is_in(triples(options), 2, 1));
  EXPECT_FALSE(is_in(triples(options), 3, 1));
  add(0, 3);
  EXPECT_EQ(triples(options).size(), 2U);
}

} // namespace
} // namespace concord::graph
