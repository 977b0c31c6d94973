// Many deals at once against one ranking for each.
#include "subspaces/members/dealt_ranking.hpp"
#include "subspaces/worlds.hpp"
#include <map>

namespace concord::subspaces {
namespace {

using namespace worlds;

/// Phrases of unequal numbers of spans, of one and two tokens, some with random spans beside them; families of two phrases.
std::vector<Span> some_spans(const Philox& random, int concepts) {
  std::vector<Span> spans;
  std::uint64_t draw = 0;
  std::int32_t phrase = 0;
  for (int c = 0; c < concepts; ++c)
    for (int i = 0; i < 8; ++i, ++phrase)
      for (std::uint64_t n = 1 + random.below(draw++, 6); n > 0; --n) {
        Span span;
        span.begin = static_cast<Index>(spans.size()) * 10;
        span.end = span.begin + 1 + i / 2 % 2 + (random.uniform(draw++) < 0.1 ? 1 : 0);
        span.concept_number = c;
        span.phrase = phrase;
        span.family = phrase / 2 * 2;
        span.phrase_half = static_cast<std::int8_t>(i / 4);
        spans.push_back(span);
        span.random = true;
        if (random.uniform(draw++) < 0.8) spans.push_back(span);
      }
  return spans;
}

TEST(DealtRanking, HitsAreThoseOfEachDealByItself) {
  constexpr int concepts = 5;
  constexpr double min_auc = 0.6;
  const std::vector<bool> looked_at{true, true, false, true, true};
  int hits = 0;
  for (std::uint64_t world_number = 0; world_number < 4; ++world_number) {
    const auto spans = some_spans(Philox(1, "spans", world_number), concepts);
    DealtRanking all(spans, looked_at, min_auc);
    std::vector<SpanRanking> each;
    for (int deal = 0; deal < 6; ++deal) {
      const auto dealt = deal == 0 ? spans : dealt_anew(spans, 3, deal);
      std::vector<std::int32_t> numbers;
      for (const Span& span : dealt) numbers.push_back(span.concept_number);
      all.add_deal(numbers);
      each.emplace_back(dealt, concepts);
    }
    for (std::uint64_t feature = 0; feature < 60; ++feature) {
      const Philox random(2, "values", world_number, feature);
      std::vector<SpanEntry> entries;
      for (std::size_t i = 0; i < spans.size(); ++i) {
        const bool likes = spans[i].concept_number == static_cast<int>(feature % 6) && !spans[i].random;
        if (random.uniform(2 * i) < (likes ? 0.8 : 0.01 * static_cast<double>(feature)))
          entries.push_back({static_cast<std::int32_t>(i), static_cast<float>(1 + random.below(2 * i + 1, 5))}); // ties
      }
      std::map<std::pair<int, int>, double> expected;
      for (int deal = 0; deal < 6; ++deal) {
        each[at(deal)].rank(entries);
        for (int c = 0; c < concepts; ++c) {
          const double auc = std::min(each[at(deal)].auc(c, 0, Others::concepts), each[at(deal)].auc(c, 0, Others::random));
          if (looked_at[at(c)] && auc >= min_auc) expected[{deal, c}] = auc;
        }
      }
      std::map<std::pair<int, int>, double> found;
      for (const auto& hit : all.hits(entries)) found[{hit.deal, hit.concept_number}] = hit.auc;
      EXPECT_EQ(found, expected) << world_number << " " << feature; // to the bit
      hits += static_cast<int>(expected.size());
    }
  }
  EXPECT_GT(hits, 100);
}

TEST(DealtRanking, WithoutRandomSpansNothingIsFound) {
  Span span;
  span.end = 1;
  std::vector<Span> spans{span, span};
  spans[1].concept_number = 1;
  spans[1].phrase = 1;
  DealtRanking ranking(spans, {true, true}, 0.5);
  ranking.add_deal({spans[0].concept_number, spans[1].concept_number});
  EXPECT_TRUE(ranking.hits(std::vector<SpanEntry>{{0, 1.0F}}).empty());
}

} // namespace
} // namespace concord::subspaces
