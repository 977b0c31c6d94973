// How alike concepts are: correlations against a dense Pearson, planted geometry, levels where there is none.
#include "concord/agreement/ranks.hpp"
#include "concord/subspaces/likeness/alike.hpp"

#include "subspaces/worlds.hpp"
#include <cstring>
#include <map>

namespace concord::subspaces {
namespace {

using namespace worlds;

constexpr int concepts = 3;
constexpr Index each = 14; // features and phrases of a concept
constexpr Index width = 24;

std::vector<Span> some_spans(std::uint64_t seed) {
  const Philox random(seed, "spans");
  std::vector<Span> spans;
  for (std::uint64_t i = 0; i < 500; ++i) {
    Span span;
    span.begin = 10 * static_cast<Index>(i);
    span.end = span.begin + 1;
    span.random = i % 5 == 4;
    span.phrase = static_cast<std::int32_t>(i % (concepts * each));
    span.concept_number = span.phrase / static_cast<std::int32_t>(each);
    span.document_half = static_cast<std::int8_t>(random.below(i, 2));
    spans.push_back(span);
  }
  return spans;
}

/// Value of feature f on a span, the same in both models but for noise.
Dense some_values(std::uint64_t seed, std::uint64_t noise_seed, double noise, std::size_t spans) {
  Dense dense(concepts * each, std::vector<float>(spans));
  for (std::size_t f = 0; f < dense.size(); ++f) {
    const Philox random(seed, "value", f);
    const Philox own(noise_seed, "noise", f);
    for (std::size_t i = 0; i < spans; ++i) {
      if (random.uniform(2 * i) < 0.25) dense[f][i] = 0.1F + static_cast<float>(random.uniform(2 * i + 1));
      if (own.uniform(2 * i) < noise) dense[f][i] += static_cast<float>(own.uniform(2 * i + 1));
    }
  }
  return dense;
}

/// Rows of shared geometry, which is longest along one direction, turned, and noise of a model's own.
std::vector<double> geometry(std::uint64_t seed, std::uint64_t own_seed, Index rows, double noise, bool turned) {
  const Philox shared(seed, "geometry");
  const Philox own(own_seed, "own");
  std::vector<double> values(at(rows * width));
  for (std::uint64_t i = 0; i < values.size(); ++i) values[i] = (i % at(width) == 0 ? 4 : 1) * shared.normal(i) + noise * own.normal(i);
  for (Index i = 0; turned && i < rows; ++i) // swap and negate: a rotation that keeps correlations of rows near
    for (Index j = 0; j + 1 < width; j += 2) {
      double& a = values[at(i * width + j)];
      double& b = values[at(i * width + j + 1)];
      std::tie(a, b) = std::pair(b, a);
    }
  return values;
}

LayerMembers members_of(const Dense& dense, const std::vector<double>& decoder) {
  LayerMembers members;
  members.of_concept.resize(concepts);
  for (std::size_t f = 0; f < dense.size(); ++f) {
    members.values.push_back(entries_of(dense[f]));
    members.of_concept[f / at(each)].push_back(static_cast<Index>(f));
  }
  members.decoder = SmallSpace(decoder, static_cast<Index>(dense.size()), width);
  return members;
}

PhraseMeans means_of(std::vector<double> values) {
  PhraseMeans means;
  means.d = width;
  means.means = std::move(values);
  for (std::int32_t p = 0; p < concepts * each; ++p) {
    means.phrase.push_back(p);
    means.spans.push_back(5);
  }
  return means;
}

TEST(SpanCorrelations, EqualADensePearson) {
  const auto spans = some_spans(1);
  const Dense a = some_values(2, 3, 0.1, spans.size());
  Dense b = some_values(2, 4, 0.3, spans.size());
  b.resize(20);
  std::fill(b[7].begin(), b[7].end(), 0.0F); // fires nowhere
  for (const int half : {0, 1}) {
    const auto r = span_correlations(spans, half, members_of(a, std::vector<double>(a.size() * at(width), 1)),
                                     members_of(b, std::vector<double>(b.size() * at(width), 1)));
    ASSERT_EQ(r.size(), a.size() * b.size());
    const auto of_half = [&](const std::vector<float>& values) {
      std::vector<double> some;
      for (std::size_t i = 0; i < spans.size(); ++i)
        if (spans[i].document_half == half) some.push_back(values[i]);
      return some;
    };
    for (std::size_t i = 0; i < a.size(); ++i)
      for (std::size_t j = 0; j < b.size(); ++j)
        EXPECT_NEAR(r[i * b.size() + j], j == 7 ? 0 : agreement::pearson(of_half(a[i]), of_half(b[j])), 1e-12) << half;
  }
}

TEST(AlikeConcepts, OfOneGeometryAreAlike) {
  const auto spans = some_spans(5);
  const auto a = members_of(some_values(6, 7, 0.02, spans.size()), geometry(8, 9, concepts * each, 0.2, false));
  const auto b = members_of(some_values(6, 10, 0.02, spans.size()), geometry(8, 11, concepts * each, 0.2, true));
  const auto means_a = means_of(geometry(12, 13, concepts * each, 0.2, false));
  const auto means_b = means_of(geometry(12, 14, concepts * each, 0.2, true));
  const auto alike = compare_concepts(spans, a, b, &means_a, &means_b, 0, concepts, 99, 3);
  for (Index c = 0; c < concepts; ++c) {
    EXPECT_EQ(alike.pairs[at(c * concepts + c)], each);
    EXPECT_EQ(alike.features[at(c)].pairs, each);
    EXPECT_EQ(alike.phrases[at(c)].pairs, each);
    for (std::size_t i = 0; i < small_measures; ++i) {
      const double own = alike.features[at(c)].score[i];
      EXPECT_EQ(own, alike.matrix[at(c * concepts + c)][i]);
      EXPECT_GT(own, 0.8) << i;
      for (const auto& of : {alike.features[at(c)], alike.phrases[at(c)]}) {
        EXPECT_DOUBLE_EQ(of.p[i], 0.01) << i;
        EXPECT_GT(of.score[i], of.mean[i] + 0.1);
      }
      for (Index other = 0; other < concepts; ++other)
        if (const double score = alike.matrix[at(c * concepts + other)][i]; other != c && !std::isnan(score)) {
          EXPECT_LT(score, own) << i;
        }
    }
  }
}

/// One model against itself, in other coordinates: 1 but for rounding.
TEST(AlikeConcepts, OfOneModelScoreOne) {
  const auto spans = some_spans(15);
  const Dense dense = some_values(16, 17, 0, spans.size());
  const auto alike = compare_concepts(spans, members_of(dense, geometry(18, 0, concepts * each, 0, false)),
                                      members_of(dense, geometry(18, 0, concepts * each, 0, true)), nullptr, nullptr, 0, concepts, 9, 3);
  for (Index c = 0; c < concepts; ++c) {
    for (const double score : alike.matrix[at(c * concepts + c)]) EXPECT_NEAR(score, 1, 1e-10);
    EXPECT_EQ(alike.phrases[at(c)].pairs, 0);
    EXPECT_TRUE(std::isnan(alike.phrases[at(c)].score[0]));
  }
}

/// Pairs by hand: A's features are those of B in another order, but for two that are alone.
TEST(AlikeConcepts, PairFeaturesThatAreEachOthersBest) {
  const auto spans = some_spans(20);
  const Dense dense = some_values(21, 22, 0, spans.size());
  auto a = members_of(dense, geometry(23, 0, concepts * each, 0, false));
  auto b = a;
  for (Index f = 0; f < 12; ++f) std::swap(b.values[at(f)], b.values[at(f + each)]); // of concepts 0 and 1
  const auto alike = compare_concepts(spans, a, b, nullptr, nullptr, 0, concepts, 3, 3);
  EXPECT_GE(alike.pairs[1], 12);
  EXPECT_GE(alike.pairs[at(concepts)], 12);
  EXPECT_EQ(alike.pairs[8], each);
  a.of_concept[0].resize(9); // fewer than are compared
  const auto few = compare_concepts(spans, a, b, nullptr, nullptr, 0, concepts, 3, 3);
  EXPECT_LE(few.pairs[1], 9);
  EXPECT_GE(few.pairs[1], 5);
  EXPECT_TRUE(std::isnan(few.matrix[1][0]));
  EXPECT_TRUE(std::isnan(few.features[0].p[0]));
}

/// Every number of pairs, by the largest of rows and columns.
TEST(AlikeConcepts, PairNoOthers) {
  const auto spans = some_spans(45);
  const auto a = members_of(some_values(46, 47, 0.3, spans.size()), geometry(48, 0, concepts * each, 0, false));
  const auto b = members_of(some_values(46, 49, 0.3, spans.size()), geometry(48, 0, concepts * each, 0, false));
  const auto alike = compare_concepts(spans, a, b, nullptr, nullptr, 0, concepts, 1, 3);
  const auto r = span_correlations(spans, 0, a, b);
  const auto value = [&](Index i, Index j) { return r[at(i * concepts * each + j)]; };
  for (Index c = 0; c < concepts; ++c)
    for (Index other = 0; other < concepts; ++other) {
      Index pairs = 0;
      for (const Index i : a.of_concept[at(c)])
        for (const Index j : b.of_concept[at(other)]) {
          bool best = value(i, j) > 0;
          for (const Index k : b.of_concept[at(other)]) best = best && value(i, k) <= value(i, j);
          for (const Index k : a.of_concept[at(c)]) best = best && value(k, j) <= value(i, j);
          pairs += best ? 1 : 0;
        }
      EXPECT_EQ(alike.pairs[at(c * concepts + other)], pairs) << c << " " << other;
      EXPECT_TRUE(c == other || pairs < each);
    }
}

/// Pairs are those of half 0 of the documents alone.
TEST(AlikeConcepts, DoNotLookAtTheOtherHalfOfTheDocuments) {
  const auto spans = some_spans(25);
  const Dense dense = some_values(26, 27, 0.05, spans.size());
  Dense other = dense;
  for (auto& values : other)
    for (std::size_t i = 0; i < values.size(); ++i)
      if (spans[i].document_half == 1) values[i] = static_cast<float>(i % 7);
  const auto decoder = geometry(28, 29, concepts * each, 0.5, false);
  const auto a = members_of(dense, decoder);
  const auto as_it_is = compare_concepts(spans, a, a, nullptr, nullptr, 0, concepts, 5, 3);
  const auto changed = compare_concepts(spans, members_of(other, decoder), a, nullptr, nullptr, 0, concepts, 5, 3);
  EXPECT_EQ(as_it_is.pairs, changed.pairs);
}

/// Pairs are sure, geometries are independent: p is uniform.
TEST(AlikeConcepts, KeepTheLevel) {
  constexpr Index seeds = 200;
  std::array<Index, small_measures> features{};
  std::array<Index, small_measures> phrases{};
  std::array<double, small_measures> sum{};
  const auto spans = some_spans(30);
  const Dense dense = some_values(31, 32, 0, spans.size());
  for (std::uint64_t seed = 0; seed < seeds; ++seed) {
    const auto a = members_of(dense, geometry(1000 + seed, 0, concepts * each, 0, false));
    const auto b = members_of(dense, geometry(2000 + seed, 0, concepts * each, 0, false));
    const auto means_a = means_of(geometry(3000 + seed, 0, concepts * each, 0, false));
    const auto means_b = means_of(geometry(4000 + seed, 0, concepts * each, 0, false));
    const auto alike = compare_concepts(spans, a, b, &means_a, &means_b, 0, 1, 19, seed);
    for (std::size_t i = 0; i < small_measures; ++i) {
      features[i] += alike.features[0].p[i] <= 0.1 ? 1 : 0;
      phrases[i] += alike.phrases[0].p[i] <= 0.1 ? 1 : 0;
      sum[i] += alike.features[0].p[i] / seeds;
    }
  }
  for (std::size_t i = 0; i < small_measures; ++i) {
    for (const Index low : {features[i], phrases[i]}) {
      EXPECT_LE(static_cast<double>(low), most_by_chance(0.1, seeds)) << name_of_small_measure(static_cast<int>(i));
      EXPECT_GE(static_cast<double>(low), least_by_chance(0.1, seeds)) << name_of_small_measure(static_cast<int>(i));
    }
    EXPECT_NEAR(sum[i], 0.525, 4 * 0.29 / std::sqrt(200.0));
  }
}

bool same(const SmallScores& a, const SmallScores& b) {
  return std::memcmp(a.data(), b.data(), sizeof a) == 0;
}
bool same(const AgainstShuffled& a, const AgainstShuffled& b) {
  return a.pairs == b.pairs && same(a.score, b.score) && same(a.mean, b.mean) && same(a.p, b.p);
}

/// Parts put together are the whole, bit by bit; what is not in a part is not defined there.
TEST(AlikeConcepts, MayBeComparedInParts) {
  const auto spans = some_spans(35);
  const auto a = members_of(some_values(36, 37, 0.1, spans.size()), geometry(38, 39, concepts * each, 0.5, false));
  const auto b = members_of(some_values(36, 40, 0.1, spans.size()), geometry(38, 41, concepts * each, 0.5, false));
  const auto means = means_of(geometry(42, 43, concepts * each, 0.5, false));
  const auto whole = compare_concepts(spans, a, b, &means, &means, 0, concepts, 9, 3);
  for (const auto& [first, last] : {std::pair<Index, Index>{0, 1}, {1, 3}, {2, 2}}) {
    const auto part = compare_concepts(spans, a, b, &means, &means, first, last, 9, 3);
    for (Index c = 0; c < concepts; ++c) {
      const bool here = c >= first && c < last;
      EXPECT_EQ(same(part.features[at(c)], whole.features[at(c)]), here);
      EXPECT_EQ(same(part.phrases[at(c)], whole.phrases[at(c)]), here);
      for (Index other = 0; other < concepts; ++other) {
        const auto place = at(c * concepts + other);
        EXPECT_EQ(part.pairs[place], here ? whole.pairs[place] : 0);
        EXPECT_TRUE(here ? same(part.matrix[place], whole.matrix[place]) : std::isnan(part.matrix[place][0]));
      }
    }
  }
}

} // namespace
} // namespace concord::subspaces
