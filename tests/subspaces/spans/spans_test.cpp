// Which spans are looked at, on made-up occurrences: against what one rank makes of all of them, and by their properties.
#include "concord/comm/collectives.hpp"
#include "concord/subspaces/spans/spans.hpp"

#include "subspaces/worlds.hpp"
#include <algorithm>
#include <map>
#include <set>

namespace concord::subspaces {
namespace {

using test::world;
using namespace worlds;

struct Corpus {
  std::vector<Index> offsets{0};
  std::vector<Index> document;
  std::vector<Span> occurrences; ///< ascending
  std::vector<int> concept_of;   ///< of each phrase
  Index phrases() const { return static_cast<Index>(concept_of.size()); }
  ContextPlaces places() const { return {offsets, document}; }
};

/// Contexts of 12 to 60 rows, three a document; phrases of 1 to 3 tokens, some of two lengths, the first ones frequent; neighbours may
/// share a token.
Corpus corpus_of(std::uint64_t seed, Index contexts, double density = 0.15) {
  Corpus corpus;
  for (const int count : {5, 8, 1, 12, 7})
    for (int i = 0; i < count; ++i) corpus.concept_of.push_back(count == 5 ? 0 : count == 8 ? 1 : count == 1 ? 2 : count == 12 ? 3 : 4);
  const Philox random(seed, "corpus");
  std::uint64_t draw = 0;
  for (Index c = 0; c < contexts; ++c) {
    const Index begin = corpus.offsets.back();
    const Index end = begin + 12 + static_cast<Index>(random.below(draw++, 49));
    corpus.offsets.push_back(end);
    corpus.document.push_back(c / 3);
    for (Index row = begin; row < end; ++row) {
      if (random.uniform(draw++) > density) continue;
      const double u = random.uniform(draw++);
      const auto phrase = static_cast<std::int32_t>(u * u * static_cast<double>(corpus.phrases()));
      Span span;
      span.begin = row;
      span.end = row + 1 + phrase % 3 + (phrase % 3 == 1 ? static_cast<Index>(random.below(draw++, 2)) : 0);
      if (span.end > end) continue;
      span.document = corpus.document.back();
      span.phrase = phrase;
      span.concept_number = corpus.concept_of[at(phrase)];
      span.kind = span.length() == 1 ? SpanKind::one_token : SpanKind::phrase;
      corpus.occurrences.push_back(span);
      row = span.length() > 1 && random.uniform(draw++) < 0.2 ? span.end - 2 : span.end - 1;
    }
  }
  return corpus;
}

/// Those in the contexts of a rank.
std::vector<Span> of_rank(const Corpus& corpus, const comm::Communicator& comm) {
  const dist::Partition share{static_cast<Index>(corpus.offsets.size()) - 1, comm.size()};
  std::vector<Span> mine;
  for (const Span& span : corpus.occurrences)
    if (span.begin >= corpus.offsets[at(share.begin(comm.rank()))] && span.begin < corpus.offsets[at(share.end(comm.rank()))])
      mine.push_back(span);
  return mine;
}

std::vector<Span> chosen(const Corpus& corpus, const SpanChoice& choice, const comm::Communicator& comm) {
  return choose_spans(comm, of_rank(corpus, comm), corpus.places(), choice);
}

Index context_of(const Corpus& corpus, Index row) {
  Index context = 0;
  while (corpus.offsets[at(context) + 1] <= row) ++context;
  return context;
}

TEST(ChosenSpans, AreTheSameOnAnyNumberOfRanks) {
  for (const Index contexts : {0, 1, 2, 3, 150}) {
    const Corpus corpus = corpus_of(3, contexts);
    for (const Index most : {1, 4, 1000}) {
      const SpanChoice choice{11, corpus.phrases(), most};
      const auto all = chosen(corpus, choice, alone());
      expect_same_spans(chosen(corpus, choice, world()), all);
      EXPECT_EQ(all.empty(), corpus.occurrences.empty());
    }
  }
}

TEST(ChosenSpans, MayAllLieOnOneRank) {
  Corpus corpus = corpus_of(5, 60);
  std::erase_if(corpus.occurrences, [&](const Span& span) { return span.begin < corpus.offsets[45]; });
  const SpanChoice choice{2, corpus.phrases(), 5};
  const auto all = chosen(corpus, choice, alone());
  expect_same_spans(chosen(corpus, choice, world()), all);
  EXPECT_TRUE(std::any_of(all.begin(), all.end(), [&](const Span& s) { return s.random && s.begin < corpus.offsets[45]; }));
}

TEST(ChosenSpans, AreSoManyOfEachPhrase) {
  const Corpus corpus = corpus_of(7, 300);
  const auto spans = chosen(corpus, {1, corpus.phrases(), 9}, world());
  EXPECT_TRUE(std::is_sorted(spans.begin(), spans.end(), [](const Span& a, const Span& b) { return a.begin < b.begin; }));
  std::map<std::int32_t, Index> occur;
  std::set<std::pair<Index, std::int32_t>> known;
  for (const Span& span : corpus.occurrences) {
    ++occur[span.phrase];
    known.emplace(span.begin, span.phrase);
  }
  std::map<std::int32_t, Index> taken;
  for (const Span& span : spans) {
    if (span.random) continue;
    ++taken[span.phrase];
    EXPECT_EQ(known.erase({span.begin, span.phrase}), 1U) << "no occurrence, or taken twice";
    EXPECT_EQ(span.concept_number, corpus.concept_of[at(span.phrase)]);
    EXPECT_EQ(span.document, corpus.document[at(context_of(corpus, span.begin))]);
  }
  ASSERT_EQ(occur.size(), corpus.concept_of.size());
  Index frequent = 0;
  for (const auto& [phrase, count] : occur) {
    EXPECT_EQ(taken[phrase], std::min<Index>(count, 9)) << phrase;
    frequent += count > 9 ? 1 : 0;
  }
  EXPECT_GT(frequent, 10);
}

TEST(ChosenSpans, RandomOnesStandBesideThem) {
  const Corpus corpus = corpus_of(9, 200);
  const auto spans = chosen(corpus, {1, corpus.phrases(), 20}, world());
  using Key = std::tuple<std::int32_t, std::int32_t, SpanKind, Index, Index, std::int8_t>;
  const auto key = [&](const Span& s) {
    return Key(s.concept_number, s.phrase, s.kind, s.length(), s.begin - corpus.offsets[at(context_of(corpus, s.begin))], s.phrase_half);
  };
  std::map<Key, std::vector<Index>> contexts; // of occurrences
  for (const Span& span : spans)
    if (!span.random) contexts[key(span)].push_back(context_of(corpus, span.begin));
  std::map<Key, std::size_t> random;
  Index occurrences = 0;
  Index beside = 0;
  for (const Span& span : spans) {
    ++(span.random ? beside : occurrences);
    if (!span.random) continue;
    const Index context = context_of(corpus, span.begin);
    EXPECT_LE(span.end, corpus.offsets[at(context) + 1]);
    EXPECT_EQ(span.document, corpus.document[at(context)]);
    const auto found = contexts.find(key(span));
    ASSERT_NE(found, contexts.end()) << "beside no occurrence";
    EXPECT_LE(++random[key(span)], found->second.size());
    EXPECT_TRUE(std::any_of(found->second.begin(), found->second.end(), [&](Index other) { return other != context; }));
    for (const Span& occurrence : corpus.occurrences)
      EXPECT_FALSE(occurrence.begin < span.end && span.begin < occurrence.end) << span.begin << " overlaps " << occurrence.begin;
  }
  EXPECT_GT(beside, 0.97 * static_cast<double>(occurrences)) << "sixteen draws find one nearly always";
}

/// An occurrence of a phrase in the way of every random span of its own: there is none.
TEST(ChosenSpans, HaveNoRandomOneWhereThereIsNoRoom) {
  Corpus corpus;
  corpus.concept_of = {0, 1};
  for (Index c = 0; c < 6; ++c) {
    Span span;
    span.begin = 10 * c;
    span.end = span.begin + 2;
    span.document = c;
    corpus.offsets.push_back(span.begin + 10);
    corpus.document.push_back(c);
    corpus.occurrences.push_back(span);
  }
  Span late = corpus.occurrences[1]; // nothing is there in the other contexts
  late.begin = 17;
  late.end = 19;
  late.phrase = late.concept_number = 1;
  corpus.occurrences.insert(corpus.occurrences.begin() + 2, late);
  const auto spans = chosen(corpus, {4, 2, 20}, world());
  ASSERT_EQ(spans.size(), 8U);
  for (const Span& span : spans) EXPECT_EQ(span.random, span.concept_number == 1 && span.begin != 17) << span.begin;
  const auto one = std::vector<Index>{0, 10};
  const auto alone_in_it = choose_spans(world(), world().rank() == 0 ? std::vector{corpus.occurrences[0]} : std::vector<Span>{},
                                        {one, corpus.document}, {4, 2, 20});
  ASSERT_EQ(alone_in_it.size(), 1U) << "no other context";
}

TEST(ChosenSpans, HalvesOfPhrasesAreEqualInNumber) {
  const Corpus corpus = corpus_of(13, 200);
  Index larger[2] = {0, 0};
  std::set<std::vector<int>> splits;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    std::map<std::int32_t, std::set<int>> half_of;
    for (const Span& span : chosen(corpus, {seed, corpus.phrases(), 2}, alone())) half_of[span.phrase].insert(span.phrase_half);
    std::map<int, std::array<Index, 2>> counts;
    std::vector<int> split;
    for (const auto& [phrase, half] : half_of) {
      ASSERT_EQ(half.size(), 1U);
      ++counts[corpus.concept_of[at(phrase)]][at(*half.begin())];
      split.push_back(*half.begin());
    }
    splits.insert(split);
    for (const auto& [number, count] : counts) {
      EXPECT_LE(std::abs(count[0] - count[1]), 1) << number;
      if (count[0] != count[1]) ++larger[count[0] > count[1] ? 0 : 1];
    }
  }
  EXPECT_GT(splits.size(), 50U);
  const auto odd = static_cast<double>(larger[0] + larger[1]); // three concepts have an odd number
  EXPECT_EQ(odd, 180);
  EXPECT_LT(static_cast<double>(larger[0]), most_by_chance(0.5, odd));
  EXPECT_GT(static_cast<double>(larger[0]), least_by_chance(0.5, odd));
}

TEST(ChosenSpans, HalvesOfDocumentsGoWithTheDocument) {
  const Corpus corpus = corpus_of(17, 300);
  double second = 0;
  double documents = 0;
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    std::map<Index, std::set<int>> half_of;
    for (const Span& span : chosen(corpus, {seed, corpus.phrases(), 20}, world())) half_of[span.document].insert(span.document_half);
    for (const auto& [document, half] : half_of) {
      EXPECT_EQ(half.size(), 1U) << document;
      second += *half.begin();
      ++documents;
    }
  }
  EXPECT_GT(documents, 900);
  EXPECT_LT(second, most_by_chance(0.5, documents));
  EXPECT_GT(second, least_by_chance(0.5, documents));
}

/// Documents that are not known are contexts.
TEST(ChosenSpans, OfUnknownDocuments) {
  Corpus corpus = corpus_of(19, 90);
  corpus.document.clear();
  for (Span& span : corpus.occurrences) span.document = context_of(corpus, span.begin);
  for (const Span& span : chosen(corpus, {1, corpus.phrases(), 3}, world())) EXPECT_EQ(span.document, context_of(corpus, span.begin));
}

/// Of 40 occurrences of a phrase 10 are taken, each as often as any other; chi-square with 39 degrees of freedom, mean 39, deviation 8.8.
TEST(ChosenSpans, AreAUniformDraw) {
  Corpus corpus;
  corpus.concept_of = {0};
  for (Index i = 0; i < 40; ++i) {
    Span span;
    span.begin = 25 * i;
    span.end = span.begin + 1;
    corpus.occurrences.push_back(span);
    corpus.offsets.push_back(25 * (i + 1));
    corpus.document.push_back(i);
  }
  constexpr double seeds = 800;
  std::map<Index, double> taken;
  for (std::uint64_t seed = 0; seed < seeds; ++seed)
    for (const Span& span : chosen(corpus, {seed, 1, 10}, alone()))
      if (!span.random) ++taken[span.begin];
  double chi_square = 0;
  for (const Span& span : corpus.occurrences) chi_square += std::pow(taken[span.begin] - seeds / 4, 2) / (seeds / 4) / (1 - 0.25) * 39 / 40;
  EXPECT_LT(chi_square, 39 + 5 * 8.8);
  EXPECT_GT(chi_square, 39 - 3.5 * 8.8);
}

/// Ranks send few of a frequent phrase, and always enough.
TEST(ChosenSpans, OfAFrequentPhrase) {
  Corpus corpus;
  corpus.concept_of = {0, 0};
  for (Index i = 0; i < 30000; ++i) {
    Span span;
    span.begin = 4 * i;
    span.end = span.begin + 1;
    span.phrase = i % 10000 == 7 ? 1 : 0;
    corpus.occurrences.push_back(span);
    corpus.offsets.push_back(4 * (i + 1));
    corpus.document.push_back(i);
  }
  double mean = 0;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const auto spans = chosen(corpus, {seed, 2, 20}, world());
    Index count[2] = {0, 0};
    for (const Span& span : spans) {
      if (span.random) continue;
      ++count[span.phrase];
      if (span.phrase == 0) mean += static_cast<double>(span.begin) / 120000 / 400;
    }
    EXPECT_EQ(count[0], 20);
    EXPECT_EQ(count[1], 3);
  }
  EXPECT_NEAR(mean, 0.5, 4 / std::sqrt(12.0 * 400));
}

/// The context of the random span beside a lone occurrence: any other one, equally often.
TEST(ChosenSpans, RandomOnesLieAnywhere) {
  Corpus corpus;
  corpus.concept_of = {0};
  for (Index i = 0; i < 21; ++i) {
    corpus.offsets.push_back(10 * (i + 1));
    corpus.document.push_back(i);
  }
  Span span;
  span.begin = 73;
  span.end = 75;
  corpus.occurrences = {span};
  constexpr double seeds = 1000;
  std::map<Index, double> hit;
  for (std::uint64_t seed = 0; seed < seeds; ++seed)
    for (const Span& beside : chosen(corpus, {seed, 1, 10}, alone()))
      if (beside.random) ++hit[context_of(corpus, beside.begin)];
  EXPECT_FALSE(hit.contains(7));
  double chi_square = 0; // 19 degrees of freedom, deviation 6.2
  for (Index c = 0; c < 21; ++c)
    if (c != 7) chi_square += std::pow(hit[c] - seeds / 20, 2) / (seeds / 20);
  EXPECT_LT(chi_square, 19 + 5 * 6.2);
  EXPECT_GT(chi_square, 3);
}

} // namespace
} // namespace concord::subspaces
