// Word sets that take as much energy as a subspace: against plain loops over the same draws.
#include "concord/core/philox.hpp"

#include "subspaces/acts/equal_energy.hpp"
#include "subspaces/worlds.hpp"
#include <cmath>
#include <set>

namespace concord::subspaces {
namespace {

using test::world;

constexpr Index d = 10;
constexpr Index concepts = 6;
constexpr Index phrases = 60;
constexpr Index span_count = 90;

std::size_t place(Index i) {
  return static_cast<std::size_t>(i);
}

std::vector<Span> some_spans() {
  const Philox random(2, "spans");
  std::vector<Span> spans;
  Index row = 0;
  for (Index i = 0; i < span_count; ++i) {
    Span span;
    span.begin = row;
    row = span.end = row + 1 + i % 2;
    span.phrase = static_cast<std::int32_t>(i % phrases);
    span.concept_number = static_cast<std::int32_t>(span.phrase % concepts);
    span.phrase_half = static_cast<std::int8_t>(i % phrases / concepts % 2);
    span.document = static_cast<Index>(random.below(static_cast<std::uint64_t>(i), 20));
    span.document_half = static_cast<std::int8_t>(span.document % 2);
    spans.push_back(span);
  }
  return spans;
}

std::vector<double> normal(std::uint64_t seed, Index count) {
  const Philox random(seed, "values");
  std::vector<double> values;
  for (Index i = 0; i < count; ++i) values.push_back(random.normal(static_cast<std::uint64_t>(i)));
  return values;
}

PhraseMeans means_of(const std::vector<Span>& spans) {
  PhraseMeans means;
  means.d = d;
  std::set<std::int32_t> numbers;
  for (const Span& span : spans) numbers.insert(span.phrase);
  means.phrase.assign(numbers.begin(), numbers.end());
  means.spans.assign(numbers.size(), 1);
  means.means = normal(7, static_cast<Index>(numbers.size()) * d);
  return means;
}

/// Bases of every concept but one, of 2 dimensions (sae) and 3 (residual).
LayerResult some_bases() {
  LayerResult result;
  result.bases.d = d;
  result.bases.centre = normal(4, d);
  for (double& value : result.bases.centre)
    value /= 10; // near the mean of the rows, as that of phrases is: else all sets share its direction
  result.bases.of.assign(basis_kinds, std::vector<Basis>(concepts, Basis{d, 0, {}, 0}));
  for (Index c = 0; c < concepts - 1; ++c)
    for (const auto& [kind, k] : {std::pair{BasisKind::sae, Index{2}}, std::pair{BasisKind::residual, Index{3}}})
      result.bases.of[static_cast<std::size_t>(kind)][place(c)] =
          agreement::leading_subspace(normal(100 + static_cast<std::uint64_t>(10 * c + k), d * k), d, k, k);
  return result;
}

double energy(const std::vector<float>& rows, const std::vector<Span>& spans, const std::vector<std::int32_t>& numbers, Index other,
              const std::vector<double>& centre, const Basis& basis) {
  double taken = 0;
  double whole = 0;
  for (const std::int32_t number : numbers) {
    const Span& span = spans[place(number)];
    if (span.concept_number != other) continue;
    for (Index row = span.begin; row < span.end; ++row) {
      for (Index c = 0; c < basis.k; ++c) {
        double share = 0;
        for (Index i = 0; i < d; ++i)
          share += (static_cast<double>(rows[place(row * d + i)]) - centre[place(i)]) * basis.u[place(i * basis.k + c)];
        taken += share * share;
      }
      for (Index i = 0; i < d; ++i) whole += std::pow(static_cast<double>(rows[place(row * d + i)]) - centre[place(i)], 2);
    }
  }
  return taken / whole;
}

TEST(WordSets, AreOfOtherConceptsAndAsLarge) {
  const auto spans = some_spans();
  const auto rows = rows_chosen_on(spans, means_of(spans));
  ASSERT_EQ(static_cast<Index>(rows.concept_number.size()), phrases / 2);
  const WordSets sets(rows, normal(4, d), 3);
  std::set<std::vector<Index>> different;
  for (Index c = 0; c < concepts; ++c)
    for (int draw = 0; draw < 20; ++draw) {
      const auto set = sets.of(c, draw);
      EXPECT_EQ(static_cast<Index>(set.size()), phrases / 2 / concepts);
      EXPECT_FALSE(sets.holds(set, c));
      EXPECT_EQ(std::set<Index>(set.begin(), set.end()).size(), set.size()) << "each phrase once";
      for (Index other = 0; other < concepts; ++other) {
        bool there = false;
        for (const Index i : set) there = there || rows.concept_number[place(i)] == other;
        EXPECT_EQ(sets.holds(set, other), there);
      }
      different.insert(set);
    }
  EXPECT_GT(different.size(), 110U);
}

/// A list of forty phrases beside others as long, and beside short ones: some draws are without the words of each other concept.
TEST(WordSets, OfLongListsLeaveConceptsOut) {
  for (const int other_phrases : {40, 5}) {
    RowsOfConcepts rows;
    rows.d = d;
    for (std::int32_t c = 0; c < concepts; ++c)
      for (int i = 0; i < (c == 0 ? 40 : other_phrases); ++i) rows.concept_number.push_back(c);
    rows.rows = normal(5, static_cast<Index>(rows.concept_number.size()) * d);
    const WordSets sets(rows, normal(4, d), 3);
    std::vector<int> without(concepts);
    for (int draw = 0; draw < energy_draws; ++draw) {
      const auto set = sets.of(0, draw);
      EXPECT_EQ(static_cast<int>(set.size()), other_phrases == 40 ? 40 : 4 * other_phrases);
      for (Index other = 1; other < concepts; ++other) without[place(other)] += sets.holds(set, other) ? 0 : 1;
    }
    for (Index other = 1; other < concepts; ++other) { // two of five are left out, or one
      EXPECT_GT(without[place(other)], other_phrases == 40 ? 50 : 15);
      EXPECT_LT(without[place(other)], other_phrases == 40 ? 110 : 65);
    }
  }
}

TEST(WordSets, OfTwoConceptsAreOfTheOther) {
  RowsOfConcepts rows{d, {}, {0, 0, 0, 1, 1, 1, 1}};
  rows.rows = normal(5, 7 * d);
  const WordSets sets(rows, normal(4, d), 3);
  for (int draw = 0; draw < 5; ++draw) EXPECT_EQ(sets.of(0, draw).size(), 3U);
  EXPECT_TRUE(sets.holds(sets.of(0, 0), 1));
}

TEST(EnergyControls, AreTheNearestOfTheDraws) {
  const auto spans = some_spans();
  const auto means = means_of(spans);
  const auto rows_drawn = normal(9, spans.back().end * d);
  const std::vector<float> rows(rows_drawn.begin(), rows_drawn.end());
  const auto path = test::empty_folder("equal_energy") / "x.h5";
  if (world().rank() == 0) {
    auto file = io::File::create(path);
    file.write("/x", rows, {spans.back().end, d});
    file.close();
  }
  world().barrier();
  const io::RowSource source(path.string() + ":/x");
  const auto result = some_bases();
  std::vector<std::int32_t> numbers;
  for (std::int32_t i = 0; i < span_count; ++i)
    if (spans[place(i)].phrase_half == 1 && spans[place(i)].concept_number != 4) numbers.push_back(i); // no span of concept 4
  const RemovedBases removed{{BasisKind::sae, BasisKind::residual, BasisKind::dealt}, concepts};
  const WordSets sets(rows_chosen_on(spans, means), result.bases.centre, 3);
  const auto found = energy_controls(world(), {source, means, result, removed, {spans, numbers, 2}}, sets);
  ASSERT_EQ(found.kinds, (std::vector<BasisKind>{BasisKind::sae, BasisKind::residual}));
  Index best_of_all = 0;
  for (std::size_t kind = 0; kind < 2; ++kind)
    for (Index c = 0; c < concepts; ++c)
      for (Index other = 0; other < concepts; ++other) {
        const Basis& basis = result.bases.of[static_cast<std::size_t>(found.kinds[kind])][place(c)];
        if (basis.k == 0 || other == 4) {
          EXPECT_EQ(found.at(kind, c, other), -1);
          continue;
        }
        const double wanted = energy(rows, spans, numbers, other, result.bases.centre, basis);
        double least = 1e9;
        double chosen = 1e9;
        for (int draw = 0; draw < energy_draws; ++draw) {
          const auto set = sets.of(c, draw);
          if (sets.holds(set, other)) continue;
          const double apart = std::abs(energy(rows, spans, numbers, other, result.bases.centre, sets.basis(set, basis.k)) - wanted);
          least = std::min(least, apart);
          if (draw == found.at(kind, c, other)) chosen = apart;
        }
        EXPECT_NEAR(chosen, least, 1e-9) << kind << " " << c << " " << other;
        best_of_all += chosen < 0.02 ? 1 : 0;
      }
  EXPECT_GT(best_of_all, 40) << "of 50: sets take as much as the bases";
}

/// Differences span by span, first inside documents.
TEST(EffectsBeyondControls, AreMeansOverDocuments) {
  const auto spans = some_spans();
  std::vector<std::int32_t> numbers;
  for (std::int32_t i = 0; i < span_count; i += 2) numbers.push_back(i);
  const auto drawn = normal(11, static_cast<Index>(numbers.size()) * basis_kinds * concepts);
  std::vector<float> kl(drawn.begin(), drawn.end());
  EqualEffects effects(concepts);
  const auto other_drawn = normal(12, static_cast<Index>(kl.size()));
  effects.control.kl_of_spans.assign(other_drawn.begin(), other_drawn.end());
  kl[5] = std::nanf("");
  add_excess({spans, numbers, 2}, kl, effects);
  for (const int half : {0, 1})
    for (Index c = 0; c < concepts; ++c)
      for (Index other = 0; other < concepts; ++other) {
        std::map<Index, std::pair<double, double>> of_document;
        for (std::size_t i = 0; i < numbers.size(); ++i) {
          const Span& span = spans[place(numbers[i])];
          const std::size_t at = (i * basis_kinds + 1) * place(concepts) + place(c);
          if (span.document_half != half || span.concept_number != other || std::isnan(kl[at])) continue;
          of_document[span.document].first += static_cast<double>(kl[at]) - static_cast<double>(effects.control.kl_of_spans[at]);
          of_document[span.document].second += 1;
        }
        double mean = 0;
        for (const auto& [document, sum] : of_document) mean += sum.first / sum.second / static_cast<double>(of_document.size());
        double squares = 0;
        for (const auto& [document, sum] : of_document) squares += std::pow(sum.first / sum.second - mean, 2);
        const auto n = static_cast<double>(of_document.size());
        const std::size_t there = effects.control.place(0, 1, half, c, other);
        if (n == 0) {
          EXPECT_TRUE(std::isnan(effects.excess[there]));
          continue;
        }
        EXPECT_NEAR(effects.excess[there], mean, 1e-12);
        if (n > 1) {
          EXPECT_NEAR(effects.excess_error[there], std::sqrt(squares / (n - 1) / n), 1e-12);
        }
      }
}

} // namespace
} // namespace concord::subspaces
