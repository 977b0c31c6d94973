// The headline's own checks: documents drawn anew, intervals, the level of the test.
#include "concord/agreement/ranks.hpp"

#include "subspaces/claim/headline.hpp"
#include "subspaces/effects/effect_means.hpp"
#include "subspaces/worlds.hpp"
#include <algorithm>
#include <numeric>

namespace concord::subspaces {
namespace {

using test::world;
using namespace worlds;

constexpr Index concept_count = 8;
const RemovedBases removed_bases{{BasisKind::residual, BasisKind::dealt}, concept_count};

/// Spans in documents of both halves, some with several of a concept.
std::vector<Span> some_spans(std::uint64_t seed, Index count) {
  const Philox random(seed, "spans");
  std::vector<Span> spans;
  for (Index i = 0; i < count; ++i) {
    Span span;
    span.begin = 10 * i;
    span.end = span.begin + 1;
    span.concept_number = static_cast<std::int32_t>(random.below(2 * static_cast<std::uint64_t>(i), concept_count));
    span.document = 100 + static_cast<Index>(random.below(2 * static_cast<std::uint64_t>(i) + 1, 24));
    span.document_half = static_cast<std::int8_t>(span.document % 2);
    span.phrase_half = 1;
    spans.push_back(span);
  }
  return spans;
}

std::vector<std::int32_t> numbers_of(const std::vector<Span>& spans) {
  std::vector<std::int32_t> numbers(spans.size());
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<std::int32_t>(i);
  return numbers;
}

LayerBases bases_of() {
  LayerBases bases;
  bases.of.assign(basis_kinds, std::vector<Basis>(concept_count, Basis{4, 1, {1, 0, 0, 0}, 1}));
  return bases;
}

/// Row and column effects, a shared part, one of the model, and noise of the document and of the span.
SpanEffects effects_of(const std::vector<Span>& spans, std::uint64_t seed, std::uint64_t model, double shared) {
  const Philox common(seed, "shared");
  const Philox own(seed, "own", model);
  SpanEffects effects;
  for (std::size_t i = 0; i < spans.size(); ++i) {
    effects.span.push_back(static_cast<std::int32_t>(i));
    effects.energy_of_span.push_back(1);
    for (std::uint64_t kind = 0; kind < 2; ++kind)
      for (Index c = 0; c < concept_count; ++c) {
        const auto cell = static_cast<std::uint64_t>(c * concept_count + spans[i].concept_number) + 1000 * kind;
        const auto document = static_cast<std::uint64_t>(spans[i].document) * 100'000;
        const double log_kl = (kind == 0 ? shared : 0) * common.normal(cell) + 0.5 * own.normal(cell) +
                              0.7 * own.normal(document + 10'000 + cell) + 0.2 * own.normal(1'000'000'000 + 100 * i + cell);
        effects.effects.push_back({std::exp(log_kl), 0, 1});
      }
  }
  return effects;
}

TEST(DrawnDocuments, GiveTheMeansOfTheStage) {
  const auto spans = some_spans(1, 300);
  const auto removals = removals_of(spans, numbers_of(spans));
  const auto effects = effects_of(spans, 1, 1, 1);
  const auto expected = effect_means(spans, effects, removed_bases, bases_of());
  ASSERT_EQ(expected.kl_of_spans.size(), spans.size() * basis_kinds * concept_count);
  const Documents documents(removals);
  for (const BasisKind kind : removed_bases.kinds) {
    const int number = static_cast<int>(kind);
    const KlByDocument by_document(removals, documents, expected.kl_of_spans, number, concept_count);
    for (int half = 0; half < halves; ++half) {
      const auto found = by_document.means(documents.all(), half);
      const auto wanted = expected.matrix(expected.kl, 0, number, half);
      ASSERT_EQ(found.size(), wanted.size());
      for (std::size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i] / wanted[i], 1, 1e-6); // single precision
    }
  }
}

/// A document that is drawn twice counts as two.
TEST(DrawnDocuments, GiveTheMeansOfDocumentsRepeated) {
  const auto spans = some_spans(2, 400);
  const auto numbers = numbers_of(spans);
  const auto removals = removals_of(spans, numbers);
  const auto effects = effects_of(spans, 2, 1, 1);
  const auto kl = effect_means(spans, effects, removed_bases, bases_of()).kl_of_spans;
  const Documents documents(removals);
  const KlByDocument by_document(removals, documents, kl, static_cast<int>(BasisKind::residual), concept_count);
  bool repeated = false;
  for (Index number = 0; number < 20; ++number) {
    const Draw draw = documents.drawn(7, number);
    for (int half = 0; half < halves; ++half) {
      const auto& times = draw[at(half)];
      EXPECT_EQ(std::accumulate(times.begin(), times.end(), Index{0}), static_cast<Index>(times.size()));
      repeated = repeated || *std::max_element(times.begin(), times.end()) > 1;
      const auto found = by_document.means(draw, half);
      for (Index c = 0; c < concept_count; ++c)
        for (Index other = 0; other < concept_count; ++other) {
          std::vector<double> means; // plainly: of each document as often as it was drawn
          for (Index document = 100; document < 124; ++document) {
            double sum = 0, count = 0;
            for (std::size_t i = 0; i < spans.size(); ++i)
              if (spans[i].document == document && spans[i].document_half == half && spans[i].concept_number == other) {
                sum += effects.effects[(i * 2) * concept_count + at(c)].kl;
                ++count;
              }
            if (count == 0) continue;
            const Index place = documents.place({document, static_cast<std::int32_t>(other), half});
            means.insert(means.end(), at(times[at(place)]), sum / count);
          }
          const double expected = agreement::trimmed_mean(means);
          EXPECT_EQ(std::isnan(expected), std::isnan(found[at(c * concept_count + other)]));
          if (!std::isnan(expected)) {
            EXPECT_NEAR(found[at(c * concept_count + other)] / expected, 1, 1e-6);
          }
        }
    }
  }
  EXPECT_TRUE(repeated);
}

/// Spans whose rows are too long have no KL: they are no part of their document's mean, and a document of nothing else is not there.
TEST(DrawnDocuments, LeaveOutSpansWithoutEffects) {
  const auto spans = some_spans(4, 300);
  const auto removals = removals_of(spans, numbers_of(spans));
  const auto effects = effects_of(spans, 4, 1, 1);
  auto kl = effect_means(spans, effects, removed_bases, bases_of()).kl_of_spans;
  const auto is_long = [&](std::size_t i) { return spans[i].document == 103 || i % 7 == 3; };
  for (std::size_t i = 0; i < spans.size(); ++i)
    if (is_long(i))
      std::fill_n(kl.begin() + static_cast<std::ptrdiff_t>(i * basis_kinds * concept_count), basis_kinds * concept_count, std::nanf(""));
  const Documents documents(removals);
  const KlByDocument by_document(removals, documents, kl, static_cast<int>(BasisKind::residual), concept_count);
  for (int half = 0; half < halves; ++half) {
    const auto found = by_document.means(documents.all(), half);
    for (Index c = 0; c < concept_count; ++c)
      for (Index other = 0; other < concept_count; ++other) {
        std::vector<double> means;
        for (Index document = 100; document < 124; ++document) {
          double sum = 0, count = 0;
          for (std::size_t i = 0; i < spans.size(); ++i)
            if (spans[i].document == document && spans[i].document_half == half && spans[i].concept_number == other && !is_long(i)) {
              sum += effects.effects[(i * 2) * concept_count + at(c)].kl;
              ++count;
            }
          if (count > 0) means.push_back(sum / count);
        }
        const double expected = agreement::trimmed_mean(means);
        ASSERT_FALSE(std::isnan(expected));
        EXPECT_NEAR(found[at(c * concept_count + other)] / expected, 1, 1e-6);
      }
  }
  std::fill(kl.begin(), kl.end(), std::nanf(""));
  const KlByDocument nothing(removals, documents, kl, static_cast<int>(BasisKind::residual), concept_count);
  for (const double value : nothing.means(documents.all(), 0)) EXPECT_TRUE(std::isnan(value));
}

std::vector<std::vector<double>> headline_of(const comm::Communicator& comm, std::uint64_t seed, double shared, Index level_draws,
                                             Index resamples) {
  const auto spans = some_spans(seed, 700);
  std::vector<EffectMatrices> a(1, EffectMatrices(concept_count));
  auto b = a;
  if (comm.rank() == 0) {
    a[0] = effect_means(spans, effects_of(spans, seed, 1, shared), removed_bases, bases_of());
    b[0] = effect_means(spans, effects_of(spans, seed, 2, shared), removed_bases, bases_of());
  }
  const std::vector<double> together(concept_count * concept_count, 0);
  const std::map<std::string, std::vector<double>> similarity;
  const ClaimInputs claim{removed_bases, {0, 0, 1, 1, 2, 2, 3, 3}, together, similarity, 19, seed};
  return headline_values(comm, std::move(a), std::move(b), {claim, removals_of(spans, numbers_of(spans)), level_draws, resamples});
}

constexpr auto residual = static_cast<std::size_t>(BasisKind::residual);
constexpr auto dealt = static_cast<std::size_t>(BasisKind::dealt);

TEST(Headline, HasIntervalsAroundWhatIsShared) {
  const auto values = headline_of(world(), 3, 1, 0, 60);
  ASSERT_EQ(values.size(), headline_datasets().size());
  for (const auto& of : values) {
    ASSERT_EQ(of.size(), at(span_sets * basis_kinds));
    for (std::size_t i = 0; i < of.size(); ++i) EXPECT_EQ(std::isnan(of[i]), &of == values.data() || (i != residual && i != dealt)) << i;
  }
  EXPECT_GT(values[1][residual], 0.2);
  EXPECT_LT(values[1][residual], values[2][residual]);
  EXPECT_LT(values[2][residual], 1);
  EXPECT_LT(values[1][dealt], 0.3);
  EXPECT_GT(values[4][residual], values[3][residual]);
  EXPECT_TRUE(std::isnan(headline_of(world(), 3, 1, 0, 0)[1][residual])) << "no documents drawn";
}

TEST(Headline, IsTheSameOnAnyNumberOfRanks) {
  const auto all = headline_of(alone(), 4, 0.5, 25, 30);
  const auto found = headline_of(world(), 4, 0.5, 25, 30);
  for (std::size_t i = 0; i < all.size(); ++i)
    for (std::size_t j = 0; j < all[i].size(); ++j) {
      EXPECT_EQ(std::isnan(found[i][j]), std::isnan(all[i][j]));
      EXPECT_FALSE(found[i][j] != all[i][j] && !std::isnan(all[i][j])) << i << " " << j;
    }
  EXPECT_GE(all[0][residual], 0);
  EXPECT_LE(all[0][residual], 0.4); // 25 draws at 0.05
}

TEST(Headline, LevelIsThatOfTheWholeDraw) {
  const auto spans = some_spans(5, 700);
  const auto a = effect_means(spans, effects_of(spans, 5, 1, 0.5), removed_bases, bases_of());
  const auto b = effect_means(spans, effects_of(spans, 5, 2, 0.5), removed_bases, bases_of());
  const std::vector<double> together(concept_count * concept_count, 0);
  const std::map<std::string, std::vector<double>> similarity;
  const ClaimInputs claim{removed_bases, {0, 0, 1, 1, 2, 2, 3, 3}, together, similarity, 19, 5};
  const auto pair = matrices_of(a, b, 0, 0, static_cast<int>(BasisKind::residual), claim);
  agreement::SelfLevelOptions options;
  options.draws = 25;
  options.seed = 5;
  EXPECT_EQ(headline_of(world(), 5, 0.5, 25, 0)[0][residual], agreement::self_level(pair, options).grouped_robust);
}

} // namespace
} // namespace concord::subspaces
