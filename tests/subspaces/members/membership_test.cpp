#include "concord/core/philox.hpp"
#include "concord/subspaces/members/membership.hpp"

#include "support/support.hpp"
#include <cmath>

namespace concord::subspaces {
namespace {

struct World {
  std::vector<Span> spans;
  std::vector<float> values; ///< of a feature on each span
  int concepts = 0;
};

/// Spans of several concepts, lengths and halves with a random span beside each; values of few kinds, so that there are ties.
World world_of(std::uint64_t seed, int concepts, Index count, double share_of_zeros, std::uint64_t kinds_of_values) {
  const Philox random(seed, "spans");
  World world;
  world.concepts = concepts;
  for (Index i = 0; i < count; ++i) {
    const auto draw = [&](Index k, std::uint64_t n) { return random.below(static_cast<std::uint64_t>(16 * i + k), n); };
    Span span;
    span.concept_number = static_cast<std::int32_t>(draw(0, static_cast<std::uint64_t>(concepts)));
    span.phrase_half = static_cast<std::int8_t>(draw(1, 2));
    span.end = span.begin + 1 + static_cast<Index>(draw(2, 3));
    for (const bool beside : {false, true}) {
      span.random = beside;
      world.spans.push_back(span);
      const bool zero = random.uniform(static_cast<std::uint64_t>(16 * i + (beside ? 4 : 3))) < share_of_zeros;
      world.values.push_back(zero ? 0.0F : 0.25F * static_cast<float>(1 + draw(beside ? 6 : 5, kinds_of_values)));
    }
  }
  return world;
}

std::vector<SpanEntry> entries_of(const World& world) {
  std::vector<SpanEntry> entries;
  for (std::size_t i = 0; i < world.values.size(); ++i)
    if (world.values[i] != 0) entries.push_back({static_cast<std::int32_t>(i), world.values[i]});
  return entries;
}

/// Pair by pair.
double slow_auc(const World& world, int concept_number, int half, Others others) {
  double u = 0;
  double pairs = 0;
  for (std::size_t i = 0; i < world.spans.size(); ++i) {
    const Span& own = world.spans[i];
    if (own.random || own.concept_number != concept_number || own.phrase_half != half) continue;
    for (std::size_t j = 0; j < world.spans.size(); ++j) {
      const Span& other = world.spans[j];
      if (other.phrase_half != half || other.length() != own.length()) continue;
      const bool wanted = others == Others::random ? other.random && other.concept_number == concept_number
                                                   : !other.random && other.concept_number != concept_number;
      if (!wanted) continue;
      ++pairs;
      u += world.values[i] > world.values[j] ? 1 : world.values[i] == world.values[j] ? 0.5 : 0;
    }
  }
  return u / pairs;
}

TEST(Membership, AucsEqualAllPairs) {
  for (const auto& [zeros, kinds] : {std::pair{0.0, 3}, {0.6, 2}, {0.95, 1000}, {1.0, 1}}) {
    const World world = world_of(7, 4, 240, zeros, static_cast<std::uint64_t>(kinds));
    SpanRanking ranking(world.spans, world.concepts);
    ranking.rank(std::vector<SpanEntry>{{0, 3.0F}}); // what the last feature left must not count
    ranking.rank(entries_of(world));
    for (int c = 0; c < world.concepts; ++c)
      for (const int half : {0, 1})
        for (const Others others : {Others::concepts, Others::random})
          EXPECT_DOUBLE_EQ(ranking.auc(c, half, others), slow_auc(world, c, half, others)) << zeros << " " << c << " " << half;
  }
}

/// The example of scikit-learn, and one with ties: U = 34 of 56 pairs.
TEST(Membership, WorkedNumbers) {
  const auto of = [](const std::vector<float>& own, const std::vector<float>& others) {
    std::vector<Span> spans;
    std::vector<SpanEntry> entries;
    for (const auto* values : {&own, &others})
      for (const float value : *values) {
        Span span;
        span.end = 1;
        span.concept_number = values == &own ? 0 : 1;
        if (value != 0) entries.push_back({static_cast<std::int32_t>(spans.size()), value});
        spans.push_back(span);
      }
    SpanRanking ranking(spans, 2);
    ranking.rank(entries);
    return ranking.auc(0, 0, Others::concepts);
  };
  EXPECT_DOUBLE_EQ(of({0.35F, 0.8F}, {0.1F, 0.4F}), 0.75);
  const double ties = of({0, 0, 0, 1, 2, 2, 5}, {0, 0, 0, 0, 0, 1, 2, 3});
  EXPECT_DOUBLE_EQ(ties, 34.0 / 56);
}

TEST(Membership, NothingToCompareIsUndefined) {
  Span span;
  span.end = 2;
  SpanRanking ranking({span}, 1);
  ranking.rank(std::vector<SpanEntry>{{0, 1.0F}});
  EXPECT_TRUE(std::isnan(ranking.auc(0, 0, Others::concepts)));
  EXPECT_TRUE(std::isnan(ranking.auc(0, 1, Others::random)));
}

} // namespace
} // namespace concord::subspaces
