// Bases of concepts: what they span, and means of phrases against a plain loop over the rows.
#include "concord/subspaces/bases/bases.hpp"
#include "concord/subspaces/spans/long_spans.hpp"

#include <fmt/format.h>

#include "subspaces/npy_file.hpp"
#include "subspaces/worlds.hpp"
#include <map>
#include <set>

namespace concord::subspaces {
namespace {

using test::npy_of;
using test::world;
using namespace worlds;

constexpr Index d = 20;

/// Eight phrases a concept and half, of one to three tokens and some spans each, with random ones beside them.
std::vector<Span> some_spans(int concepts, Index rows) {
  const Philox random(3, "spans");
  std::vector<Span> spans;
  for (std::int32_t phrase = 0; phrase < 16 * concepts; ++phrase)
    for (std::uint64_t i = 0; i < 1 + static_cast<std::uint64_t>(phrase % 5); ++i) {
      Span span;
      span.begin = static_cast<Index>(random.below(16 * static_cast<std::uint64_t>(phrase) + i, static_cast<std::uint64_t>(rows - 3)));
      span.end = span.begin + 1 + (phrase / 2) % 3;
      span.phrase = 3 * phrase; // numbers have gaps
      span.concept_number = phrase / 16;
      span.phrase_half = static_cast<std::int8_t>(phrase % 2);
      spans.push_back(span);
      span.random = true;
      span.begin = span.begin / 2;
      span.end = span.begin + 1 + (phrase / 2) % 3;
      spans.push_back(span);
    }
  std::sort(spans.begin(), spans.end(), [](const Span& a, const Span& b) { return a.begin < b.begin; });
  return spans;
}

TEST(PhraseMeansOfRows, EqualAPlainLoop) {
  constexpr Index rows = 700;
  std::vector<float> values;
  const Philox random(1, "rows");
  for (std::uint64_t i = 0; i < rows * 7; ++i) values.push_back(static_cast<float>(random.normal(i)));
  const io::RowSource source(npy_of("bases", values, 7));
  const auto spans = some_spans(3, rows);
  for (const SpanRow row : {SpanRow::last, SpanRow::mean}) {
    std::map<std::int32_t, std::vector<double>> sums;
    std::map<std::int32_t, Index> counts;
    for (const Span& span : spans) {
      if (span.random) continue;
      auto& sum = sums[span.phrase];
      sum.resize(7);
      ++counts[span.phrase];
      for (Index r = row == SpanRow::last ? span.end - 1 : span.begin; r < span.end; ++r)
        for (Index j = 0; j < 7; ++j)
          sum[at(j)] += static_cast<double>(values[at(r * 7 + j)]) / (row == SpanRow::last ? 1.0 : static_cast<double>(span.length()));
    }
    const auto means = phrase_means(world(), source, spans, row);
    EXPECT_EQ(means.d, 7);
    ASSERT_EQ(means.phrase.size(), sums.size());
    std::size_t i = 0;
    for (const auto& [phrase, sum] : sums) {
      EXPECT_EQ(means.phrase[i], phrase);
      EXPECT_EQ(means.spans[i], counts[phrase]);
      for (std::size_t j = 0; j < 7; ++j)
        EXPECT_NEAR(means.means[i * 7 + j], sum[j] / static_cast<double>(counts[phrase]), 1e-12) << phrase;
      ++i;
    }
  }
  const auto none = phrase_means(world(), source, {}, SpanRow::last);
  EXPECT_TRUE(none.phrase.empty());
  test::expect_error(ExitCode::bad_data, "no phrase of the half", [&] { none.centre({}, 0); });
}

TEST(PhraseMeansOfRows, CentreCountsEachPhraseOnce) {
  PhraseMeans means;
  means.d = 2;
  means.phrase = {1, 4, 5};
  means.spans = {100, 1, 1};
  means.means = {1, 2, 5, 6, -3, 40};
  EXPECT_EQ(means.centre({0, 0, 1}, 0), (std::vector<double>{3, 4}));
  EXPECT_EQ(means.centre({0, 0, 1}, 1), (std::vector<double>{-3, 40}));
  test::expect_error(ExitCode::bad_data, "no phrase of the half", [&] { means.centre({1, 1, 1}, 0); });
}

TEST(PhraseMeansOfRows, OfTwoLayersAreOfThePhrasesThatBothHave) {
  PhraseMeans a, b;
  a.d = 2;
  a.phrase = {1, 4, 5};
  a.spans = {3, 1, 2};
  a.means = {1, 2, 5, 6, -3, 40};
  b.d = 1;
  b.phrase = {0, 4, 5, 6};
  b.spans = {1, 2, 3, 4};
  b.means = {7, 8, 9, 10};
  const auto [of_a, of_b] = of_common_phrases(a, b);
  EXPECT_EQ(of_a.phrase, (std::vector<std::int32_t>{4, 5}));
  EXPECT_EQ(of_b.phrase, of_a.phrase);
  EXPECT_EQ(of_a.spans, (std::vector<Index>{1, 2}));
  EXPECT_EQ(of_a.means, (std::vector<double>{5, 6, -3, 40}));
  EXPECT_EQ(of_b.means, (std::vector<double>{8, 9}));
}

/// Two rows of 150 times the others' norms: the spans that hold one go, and a mean that one would rule is that of the others.
TEST(LongSpans, AreThoseWithASinkAmongTheirRows) {
  constexpr Index rows = 700;
  std::vector<float> values;
  const Philox random(1, "rows");
  for (std::uint64_t i = 0; i < rows * 7; ++i) values.push_back(static_cast<float>(random.normal(i)));
  const auto spans = some_spans(3, rows);
  const std::vector<Index> sinks{spans[10].begin, spans[40].end - 1};
  for (const Index sink : sinks)
    for (Index j = 0; j < 7; ++j) values[at(sink * 7 + j)] *= 150;
  const io::RowSource source(npy_of("sinks", values, 7));
  std::vector<std::int32_t> expected;
  std::vector<Span> others;
  for (std::size_t i = 0; i < spans.size(); ++i) {
    const bool is_long = std::any_of(sinks.begin(), sinks.end(), [&](Index sink) { return spans[i].begin <= sink && sink < spans[i].end; });
    if (is_long)
      expected.push_back(static_cast<std::int32_t>(i));
    else
      others.push_back(spans[i]);
  }
  const auto found = long_spans(world(), source, spans, 10);
  EXPECT_EQ(found, expected);
  EXPECT_TRUE(long_spans(world(), source, spans, 0).empty());
  EXPECT_TRUE(long_spans(world(), source, {}, 10).empty());
  const auto kept = without(spans, found);
  ASSERT_EQ(kept.size(), others.size());
  for (std::size_t i = 0; i < kept.size(); ++i) EXPECT_EQ(kept[i].begin, others[i].begin);
  const auto means = phrase_means(world(), source, kept, SpanRow::mean);
  for (const double value : means.means) EXPECT_LT(std::abs(value), 10);
  EXPECT_EQ(without(std::vector<std::int32_t>{1, 2, 5, 9}, {2, 3, 9}), (std::vector<std::int32_t>{1, 5}));
}

TEST(LongSpans, LeaveTheirPlacesUndefined) {
  const float none = std::numeric_limits<float>::quiet_NaN();
  const auto same = [](const std::vector<float>& a, const std::vector<float>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](float x, float y) { return x == y || (std::isnan(x) && std::isnan(y)); });
  };
  EXPECT_TRUE(same(placed_among({1, 2, 3, 4}, {4, 9}, {2, 4, 7, 9}), {none, none, 1, 2, none, none, 3, 4}));
  EXPECT_TRUE(same(placed_among({1, 2}, {3, 5}, {3, 5}), {1, 2}));
  EXPECT_TRUE(placed_among({}, {}, {3, 5}).empty());
}

// --- Bases ------------------------------------------------------------------------------------------------------------

void expect_orthonormal(const Basis& basis) {
  ASSERT_EQ(basis.u.size(), at(basis.d * basis.k));
  for (Index a = 0; a < basis.k; ++a)
    for (Index b = 0; b < basis.k; ++b) {
      double product = 0;
      for (Index i = 0; i < basis.d; ++i) product += basis.u[at(i * basis.k + a)] * basis.u[at(i * basis.k + b)];
      EXPECT_NEAR(product, a == b ? 1 : 0, 1e-12);
    }
}

/// Norm of what a basis leaves of a vector, as a share of its norm.
double left_of(const Basis& basis, std::vector<double> x) {
  double before = 0;
  for (const double value : x) before += value * value;
  const std::vector<double> whole = x;
  for (Index a = 0; a < basis.k; ++a) {
    double product = 0;
    for (Index i = 0; i < basis.d; ++i) product += basis.u[at(i * basis.k + a)] * whole[at(i)];
    for (Index i = 0; i < basis.d; ++i) x[at(i)] -= product * basis.u[at(i * basis.k + a)];
  }
  double after = 0;
  for (const double value : x) after += value * value;
  return std::sqrt(after / before);
}

std::vector<double> row_of(const comm::NodeFloats& decoder, Index f) {
  std::vector<double> row;
  for (Index i = 0; i < d; ++i) row.push_back(static_cast<double>(decoder[at(f * d + i)]));
  return row;
}

/// 60 features in d dimensions. Members of concept 0, 0 to 9, lie in two dimensions of their own; concept 1 has the members 10, 11, 12,
/// concept 2 none. Features have two rates and two norms: f % 2 and f % 3 == 0.
struct Layer {
  comm::NodeFloats decoder;
  LayerFeatures features;
  std::vector<ConceptMembers> members{3};
};

void make(Layer& layer) {
  const Philox random(5, "decoder");
  std::vector<float> values(60 * at(d));
  for (Index f = 0; f < 60; ++f) {
    double squares = 0;
    for (Index i = 0; i < d; ++i) {
      const double draw = random.normal(static_cast<std::uint64_t>(f * d + i));
      values[at(f * d + i)] = f < 10 && i != 3 && i != 8 ? 0.0F : static_cast<float>(draw);
      squares += static_cast<double>(values[at(f * d + i)]) * values[at(f * d + i)];
    }
    for (Index i = 0; i < d; ++i) values[at(f * d + i)] *= static_cast<float>((f % 3 == 0 ? 4 : 1) / std::sqrt(squares));
    layer.features.count.push_back(f % 2 == 0 ? 100 : 5000);
  }
  layer.features.count[59] = 0; // dead
  layer.decoder = values;
  layer.features.decoder = &layer.decoder;
  layer.features.d = d;
  for (std::int32_t f = 0; f < 13; ++f) {
    Member member;
    member.feature = f;
    layer.members[f < 10 ? 0 : 1].members.push_back(member);
  }
}

const Basis& basis(const LayerBases& bases, BasisKind kind, std::size_t c) {
  return bases.of[static_cast<std::size_t>(kind)][c];
}

TEST(Bases, OfFeaturesSpanTheirDecoderRows) {
  Layer layer;
  make(layer);
  for (const Index k : {1, 2, 5}) {
    const auto bases = make_bases({}, layer.members, layer.features, nullptr, k, 7, 7);
    EXPECT_EQ(bases.d, d);
    EXPECT_EQ(bases.centre, std::vector<double>(at(d)));
    for (int kind = 0; kind < basis_kinds; ++kind)
      for (std::size_t c = 0; c < 3; ++c) {
        const Basis& of = bases.of[at(kind)][c];
        expect_orthonormal(of);
        const bool of_phrases = kind == static_cast<int>(BasisKind::residual) || kind >= static_cast<int>(BasisKind::dealt);
        const bool without = c == 2 || of_phrases;
        if (without) {
          EXPECT_EQ(of.k, 0);
        } else if (kind != static_cast<int>(BasisKind::sae)) {
          EXPECT_EQ(of.k, std::min<Index>(k, c == 0 ? 10 : 3)) << "as many as members, or k";
        }
      }
    EXPECT_EQ(basis(bases, BasisKind::sae, 0).k, std::min<Index>(k, 2)) << "its members have rank 2";
    EXPECT_EQ(basis(bases, BasisKind::sae, 1).k, std::min<Index>(k, 3));
    if (k < 2) continue;
    for (Index f = 0; f < 10; ++f) EXPECT_LT(left_of(basis(bases, BasisKind::sae, 0), row_of(layer.decoder, f)), 1e-6);
    EXPECT_NEAR(basis(bases, BasisKind::sae, 0).variance_share, 1, 1e-12);
    for (Index f = 10; f < 13 && k == 5; ++f) EXPECT_LT(left_of(basis(bases, BasisKind::sae, 1), row_of(layer.decoder, f)), 1e-6);
  }
}

/// A long member does not own the basis: rows are of norm 1 before they are put together.
TEST(Bases, CountEachMemberOnce) {
  Layer layer;
  std::vector<float> values(3 * at(d));
  values[0] = 100;
  values[at(d) + 1] = 0.5F;
  values[at(2 * d) + 1] = 0.25F;
  layer.decoder = values;
  layer.features = {&layer.decoder, d, {1, 1, 1}};
  layer.members.resize(1);
  for (std::int32_t f = 0; f < 3; ++f) {
    Member member;
    member.feature = f;
    layer.members[0].members.push_back(member);
  }
  const auto bases = make_bases({}, layer.members, layer.features, nullptr, 1, 7, 7);
  EXPECT_NEAR(std::abs(basis(bases, BasisKind::sae, 0).u[1]), 1, 1e-12);
  EXPECT_NEAR(basis(bases, BasisKind::sae, 0).variance_share, 2.0 / 3, 1e-12);
}

/// Matched features are no members, fire about as often, and have about the same norm; each once, none of them dead.
TEST(Bases, MatchedFeaturesAreAlikeAndOutsideAllConcepts) {
  Layer layer;
  make(layer);
  const auto bases = make_bases({}, layer.members, layer.features, nullptr, 10, 7, 7);
  const Basis& matched = basis(bases, BasisKind::matched, 0);
  ASSERT_EQ(matched.k, 10);
  Index inside = 0; // of 60 random directions in 20 dimensions none is in a 10-dimensional space but those it is made of
  std::map<std::pair<Index, Index>, Index> kinds;
  for (Index f = 0; f < 60; ++f) {
    const bool in = left_of(matched, row_of(layer.decoder, f)) < 1e-6;
    inside += in ? 1 : 0;
    if (!in) continue;
    EXPECT_GE(f, 13) << "a member";
    EXPECT_NE(f, 59) << "dead";
    ++kinds[{f % 2, f % 3 == 0 ? 0 : 1}];
  }
  EXPECT_EQ(inside, 10);
  std::map<std::pair<Index, Index>, Index> wanted;
  for (Index f = 0; f < 10; ++f) ++wanted[{f % 2, f % 3 == 0 ? 0 : 1}];
  EXPECT_EQ(kinds, wanted);
}

/// Directions of a random basis: other ones for another seed, the same ones for the same; on average k / d of any vector.
TEST(Bases, RandomOnesAreRandom) {
  Layer layer;
  make(layer);
  double kept = 0;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const auto bases = make_bases({}, layer.members, layer.features, nullptr, 5, seed, seed);
    const double left = left_of(basis(bases, BasisKind::random, 0), row_of(layer.decoder, 0));
    kept += (1 - left * left) / 200;
    const auto again = make_bases({}, layer.members, layer.features, nullptr, 5, seed, seed);
    EXPECT_EQ(basis(bases, BasisKind::random, 0).u, basis(again, BasisKind::random, 0).u);
  }
  EXPECT_NEAR(kept, 0.25, 4 * 0.1 / std::sqrt(200.0)); // deviation of one below 0.1
}

/// Means of the phrases of concept c lie in three directions of its own on half 0, and elsewhere on half 1.
PhraseMeans planted_means(const std::vector<Span>& spans) {
  std::map<std::int32_t, Span> facts;
  for (const Span& span : spans)
    if (!span.random) facts[span.phrase] = span;
  const Philox random(8, "means");
  PhraseMeans means;
  means.d = d;
  for (const auto& [phrase, span] : facts) {
    means.phrase.push_back(phrase);
    means.spans.push_back(2);
    std::vector<double> row(at(d), 0.5);
    for (Index i = 0; i < 3; ++i)
      row[at(span.phrase_half == 0 ? 3 * span.concept_number + i : 12 + i)] += random.normal(static_cast<std::uint64_t>(3 * phrase + i));
    means.means.insert(means.means.end(), row.begin(), row.end());
  }
  return means;
}

TEST(Bases, OfPhrasesSpanTheirMeans) {
  Layer layer;
  make(layer);
  const auto spans = some_spans(3, 300);
  const auto means = planted_means(spans);
  const auto bases = make_bases(spans, layer.members, layer.features, &means, 4, 7, 7);
  std::vector<double> centre(at(d));
  std::map<std::int32_t, Span> facts;
  for (const Span& span : spans)
    if (!span.random) facts[span.phrase] = span;
  double count = 0;
  for (std::size_t i = 0; i < means.phrase.size(); ++i) {
    if (facts[means.phrase[i]].phrase_half != 0) continue;
    ++count;
    for (std::size_t j = 0; j < at(d); ++j) centre[j] += means.means[i * at(d) + j];
  }
  for (std::size_t j = 0; j < at(d); ++j) EXPECT_NEAR(bases.centre[j], centre[j] / count, 1e-12);
  for (std::size_t c = 0; c < 3; ++c) {
    const Basis& of = basis(bases, BasisKind::residual, c);
    expect_orthonormal(of);
    ASSERT_EQ(of.k, 4) << "three directions, and how far the centre is from them";
    for (std::size_t i = 0; i < means.phrase.size(); ++i) {
      const Span& span = facts[means.phrase[i]];
      std::vector<double> away;
      for (std::size_t j = 0; j < at(d); ++j) away.push_back(means.means[i * at(d) + j] - bases.centre[j]);
      const bool own = span.phrase_half == 0 && span.concept_number == static_cast<std::int32_t>(c);
      if (own) {
        EXPECT_LT(left_of(of, away), 1e-10);
      } else {
        EXPECT_GT(left_of(of, away), 0.3);
      }
    }
  }
}

/// Dealt ones are those of the phrases under other labels, which members are not judged by either.
TEST(Bases, DealtOnesAreOfOtherLabels) {
  Layer layer;
  make(layer);
  const auto spans = some_spans(3, 300);
  const auto means = planted_means(spans);
  const auto bases = make_bases(spans, layer.members, layer.features, &means, 12, 7, 7);
  const auto dealt = dealt_anew(spans, 7, 1'000'000);
  const auto expected = make_bases(dealt, layer.members, layer.features, &means, 12, 7, 7);
  for (std::size_t c = 0; c < 3; ++c) {
    EXPECT_EQ(basis(bases, BasisKind::dealt, c).u, basis(expected, BasisKind::residual, c).u);
    EXPECT_NE(basis(bases, BasisKind::dealt, c).u, basis(bases, BasisKind::residual, c).u);
    expect_orthonormal(basis(bases, BasisKind::dealt, c));
    EXPECT_GT(basis(bases, BasisKind::dealt, c).k, 4) << "phrases of several concepts";
  }
}

} // namespace
} // namespace concord::subspaces
