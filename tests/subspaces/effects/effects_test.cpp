// Effects of removals: against whole runs of the model with the changed rows, and their means against plain loops.
#include "concord/subspaces/effects/effects.hpp"

#include "subspaces/effects/effect_means.hpp"
#include "subspaces/whole_runs.hpp"
#include <ATen/ATen.h>
#include <algorithm>
#include <cstring>
#include <map>
#include <set>

namespace concord::subspaces {
namespace {

using worlds::fields;
using namespace whole_runs;

// --- One span ---------------------------------------------------------------------------------------------------------

struct Slow {
  Effect effect;
  double energy_of_span = 0;
};

Slow slow_effect(int layer, const std::vector<double>& centre, const Basis& basis, const Span& span, Index after) {
  const Tensor mu = at::tensor(centre, at::kDouble);
  const Tensor u = columns_of(basis);
  const Tensor reads = basis.read.empty() ? u : at::tensor(basis.read, at::kDouble).view({basis.d, basis.k});
  Slow slow;
  const auto change = slow_change(layer, span, after, [&](const Tensor& x) {
    const Tensor away = x - mu;
    slow.energy_of_span = away.square().sum().item<double>();
    slow.effect.energy = away.matmul(reads).square().sum().item<double>();
    return x - away.matmul(reads).matmul(u.t());
  });
  slow.effect.kl = change.kl;
  slow.effect.loss = change.loss;
  return slow;
}

TEST(RemovalsOfSubspaces, EqualWholeRunsWithTheChange) {
  const std::vector<Span> spans{span_of(0, 1),   span_of(0, 3),   span_of(11, 13), span_of(12, 13), span_of(20, 27),
                                span_of(36, 38), span_of(37, 39), span_of(38, 40), span_of(39, 40)};
  std::vector<std::int32_t> numbers;
  for (std::size_t i = 0; i < spans.size(); ++i) numbers.push_back(static_cast<std::int32_t>(i));
  std::vector<Basis> bases{random_basis(1, 20), random_basis(2, 60), {small_model().config().hidden, 0, {}, 0}, random_basis(3, 1)};
  bases.push_back(random_basis(5, 1)); // along one direction, read off another
  bases.back().read = random_basis(6, 1).u;
  for (std::size_t i = 0; i < bases.back().read.size(); ++i) bases.back().read[i] = bases.back().u[i] + 0.7 * bases.back().read[i];
  std::vector<const Basis*> removed;
  for (const auto& basis : bases) removed.push_back(&basis);
  const auto centre = some_centre();
  double largest = 0;
  for (const auto& [layer, after] : {std::pair<int, Index>{-1, 4}, {2, 4}, {2, 0}, {5, 2}}) {
    SpanEffects out;
    Removals(small_model(), layer, centre, removed, after).run({first_row, some_ids(), numbers}, spans, out);
    ASSERT_EQ(out.span, numbers);
    ASSERT_EQ(out.effects.size(), spans.size() * bases.size());
    ASSERT_EQ(out.energy_of_span.size(), spans.size());
    for (std::size_t s = 0; s < spans.size(); ++s)
      for (std::size_t b = 0; b < bases.size(); ++b) {
        SCOPED_TRACE(fmt::format("layer {} after {} span {} basis {}", layer, after, s, b));
        const Slow slow = slow_effect(layer, centre, bases[b], spans[s], after);
        const Effect& effect = out.effects[s * bases.size() + b];
        expect_near(effect.kl, slow.effect.kl, 1e-5, 5e-7);
        expect_near(effect.loss, slow.effect.loss, 1e-5, 1e-5);
        expect_near(effect.energy, slow.effect.energy, 1e-5, 1e-12);
        expect_near(out.energy_of_span[s], slow.energy_of_span, 1e-5, 0);
        largest = std::max(largest, effect.kl);
        EXPECT_EQ(std::isnan(effect.loss), s >= 7) << "no row has a next token";
        if (b == 2) {
          EXPECT_LT(std::abs(effect.kl), 5e-7) << "rounding of log probabilities in float";
          EXPECT_EQ(effect.energy, 0);
        }
      }
  }
  EXPECT_GT(largest, 0.5) << "removals do something";
}

/// The same bits whatever stands beside a span.
TEST(RemovalsOfSubspaces, OfASpanDoNotDependOnOthers) {
  const std::vector<Span> spans{span_of(3, 5), span_of(4, 5), span_of(17, 18), span_of(30, 33)};
  const Basis basis = random_basis(7, 9);
  const Removals removals(small_model(), 1, some_centre(), {&basis}, 4);
  SpanEffects all;
  removals.run({first_row, some_ids(), {0, 1, 2, 3}}, spans, all);
  for (const std::int32_t span : {0, 1, 2, 3}) {
    SpanEffects one;
    removals.run({first_row, some_ids(), {span}}, spans, one);
    ASSERT_EQ(one.effects.size(), 1U);
    EXPECT_EQ(std::memcmp(&one.effects[0], &all.effects[place(span)], sizeof(Effect)), 0);
    EXPECT_EQ(one.energy_of_span[0], all.energy_of_span[place(span)]);
    EXPECT_EQ(one.span[0], span);
  }
}

/// Everything taken out leaves the centre, so the energies are one.
TEST(RemovalsOfSubspaces, OfAllDirections) {
  const Index d = small_model().config().hidden;
  Basis all{d, d, std::vector<double>(place(d * d)), 1};
  for (Index i = 0; i < d; ++i) all.u[place(i * d + i)] = 1;
  const std::vector<Span> spans{span_of(5, 7)};
  SpanEffects out;
  Removals(small_model(), 3, some_centre(), {&all}, 1).run({first_row, some_ids(), {0}}, spans, out);
  EXPECT_NEAR(out.effects[0].energy, out.energy_of_span[0], 1e-6 * out.energy_of_span[0]);
}

// --- Means ------------------------------------------------------------------------------------------------------------

constexpr Index concepts = 3;

std::vector<Span> documents_of_spans() {
  const Philox random(11, "spans");
  std::vector<Span> spans;
  for (std::uint64_t i = 0; i < 900; ++i) {
    Span span;
    span.begin = 10 * static_cast<Index>(i);
    span.end = span.begin + 1;
    span.document = static_cast<Index>(random.below(8 * i, 90));
    span.document_half = static_cast<std::int8_t>(span.document % 2);
    span.concept_number = static_cast<std::int32_t>(random.below(8 * i + 1, concepts));
    span.kind = static_cast<SpanKind>(random.below(8 * i + 2, 2)); // never a phrase
    span.phrase_half = static_cast<std::int8_t>(random.below(8 * i + 3, 2));
    span.random = random.below(8 * i + 4, 4) == 0;
    spans.push_back(span);
  }
  return spans;
}

struct SlowMean {
  double value = std::numeric_limits<double>::quiet_NaN();
  double whole = value; ///< nothing cut
  double error = value;
  Index documents = 0;
};

/// By document, then without a twentieth at either end.
SlowMean slow_mean(const std::map<Index, std::vector<double>>& of_documents) {
  std::vector<double> means;
  for (const auto& [document, values] : of_documents) {
    double sum = 0;
    double count = 0;
    for (const double value : values)
      if (!std::isnan(value)) {
        sum += value;
        ++count;
      }
    if (count > 0) means.push_back(sum / count);
  }
  SlowMean mean;
  mean.documents = static_cast<Index>(of_documents.size());
  if (means.empty()) return mean;
  std::sort(means.begin(), means.end());
  const std::size_t cut = means.size() / 20;
  mean.value = 0;
  for (std::size_t i = cut; i < means.size() - cut; ++i) mean.value += means[i] / static_cast<double>(means.size() - 2 * cut);
  double whole = 0;
  for (const double value : means) whole += value / static_cast<double>(means.size());
  mean.whole = whole;
  double squares = 0;
  for (const double value : means) squares += (value - whole) * (value - whole);
  mean.error = std::sqrt(squares / (static_cast<double>(means.size()) - 1) / static_cast<double>(means.size()));
  return mean;
}

void expect_same(double value, double expected) {
  EXPECT_EQ(std::isnan(value), std::isnan(expected));
  EXPECT_FALSE(std::abs(value - expected) > 1e-12 * std::max(1.0, std::abs(expected))) << value << " " << expected;
}

TEST(EffectMeans, EqualAPlainLoop) {
  const auto spans = documents_of_spans();
  const RemovedBases removed{{BasisKind::residual, BasisKind::sae}, concepts};
  LayerBases bases;
  bases.of.assign(basis_kinds, std::vector<Basis>(concepts, Basis{8, 2, {}, 1}));
  bases.of[0][1].k = 0; // sae of concept 1
  const Philox random(12, "effects");
  SpanEffects effects;
  std::uint64_t draw = 0;
  for (std::size_t i = 0; i < spans.size(); i += 1 + i % 2) {
    effects.span.push_back(static_cast<std::int32_t>(i));
    effects.energy_of_span.push_back(10 + random.uniform(draw++));
    for (std::size_t b = 0; b < 2 * concepts; ++b) {
      const double heavy = std::exp(2 * random.normal(draw++));
      effects.effects.push_back({heavy, random.uniform(draw++) < 0.2 ? std::nan("") : random.normal(draw++), random.uniform(draw++)});
    }
  }
  const auto means = effect_means(spans, effects, removed, bases);
  const EffectMatrices empty(concepts);
  Index defined = 0;
  for (int set = 0; set < span_sets; ++set)
    for (int half = 0; half < 2; ++half)
      for (Index other = 0; other < concepts; ++other) {
        const auto by_document = [&](const std::function<double(std::size_t)>& of) {
          std::map<Index, std::vector<double>> documents;
          for (std::size_t i = 0; i < effects.span.size(); ++i) {
            const Span& span = spans[place(effects.span[i])];
            if (span.document_half != half || span.concept_number != other) continue;
            if (set == 0 || static_cast<int>(span.kind) == set - 1) documents[span.document].push_back(of(i));
          }
          return documents;
        };
        const auto all = by_document([&](std::size_t i) { return effects.energy_of_span[i]; });
        Index count = 0;
        for (const auto& [document, values] : all) count += static_cast<Index>(values.size());
        EXPECT_EQ(means.spans[means.place(set, half, other)], count);
        EXPECT_EQ(means.documents[means.place(set, half, other)], static_cast<Index>(all.size()));
        for (int kind = 0; kind < basis_kinds; ++kind)
          for (Index c = 0; c < concepts; ++c) {
            const auto here = means.place(set, kind, half, c, other);
            const Index b = (kind == static_cast<int>(BasisKind::residual) ? 0 : concepts) + c;
            const bool measured = kind <= 1 && !(kind == 0 && c == 1);
            const auto mean = [&](const auto& part) {
              return measured ? slow_mean(by_document([&](std::size_t i) { return part(effects.effects[i * 2 * concepts + place(b)]); }))
                              : SlowMean{};
            };
            const SlowMean kl = mean([](const Effect& e) { return e.kl; });
            expect_same(means.kl[here], kl.value);
            expect_same(means.kl_error[here], kl.error);
            expect_same(means.loss[here], mean([](const Effect& e) { return e.loss; }).value);
            expect_same(means.energy[here], mean([](const Effect& e) { return e.energy; }).whole / slow_mean(all).whole);
            defined += std::isnan(means.kl[here]) ? 0 : 1;
            EXPECT_TRUE(!measured || set > 0 || kl.documents >= 30) << "so many that some are cut";
          }
      }
  EXPECT_EQ(defined, 3 * 2 * 3 * 5); // sets, halves, concepts, bases
}

TEST(EffectMeans, OfOneDocumentHaveNoError) {
  std::vector<Span> spans(2);
  const RemovedBases removed{{BasisKind::sae}, 1};
  LayerBases bases;
  bases.of.assign(basis_kinds, std::vector<Basis>(1, Basis{8, 2, {}, 1}));
  const auto means = effect_means(spans, {{0, 1}, {{1, 2, 3}, {3, std::nan(""), 5}}, {10, 30}}, removed, bases);
  const auto here = means.place(0, 0, 0, 0, 0);
  EXPECT_DOUBLE_EQ(means.kl[here], 2);
  EXPECT_DOUBLE_EQ(means.loss[here], 2);
  EXPECT_DOUBLE_EQ(means.energy[here], 0.2);
  EXPECT_TRUE(std::isnan(means.kl_error[here]));
  EXPECT_TRUE(std::isnan(means.kl[means.place(0, 0, 1, 0, 0)]));
}

// --- Which spans ------------------------------------------------------------------------------------------------------

TEST(EffectSpans, AreSoManyOfHeldOutPhrases) {
  const auto spans = documents_of_spans();
  using Key = std::tuple<std::int32_t, SpanKind, int>;
  std::map<Key, Index> there;
  for (const Span& span : spans)
    if (!span.random && span.phrase_half == 1) ++there[{span.concept_number, span.kind, span.document_half}];
  for (const Index most : {1, 20, 10000}) {
    const auto chosen = effect_spans(spans, most, 3);
    EXPECT_TRUE(std::is_sorted(chosen.begin(), chosen.end()));
    EXPECT_EQ(std::set<std::int32_t>(chosen.begin(), chosen.end()).size(), chosen.size());
    std::map<Key, Index> taken;
    for (const auto number : chosen) {
      const Span& span = spans[place(number)];
      EXPECT_FALSE(span.random);
      EXPECT_EQ(span.phrase_half, 1);
      ++taken[{span.concept_number, span.kind, span.document_half}];
    }
    ASSERT_EQ(taken.size(), there.size());
    for (const auto& [key, count] : there) EXPECT_EQ(taken[key], std::min(count, most));
  }
  EXPECT_NE(effect_spans(spans, 5, 3), effect_spans(spans, 5, 4));
  EXPECT_TRUE(effect_spans({}, 5, 3).empty());
}

/// Each of the spans of a cell is as likely as any other.
TEST(EffectSpans, AreAUniformDraw) {
  std::vector<Span> spans;
  for (Index i = 0; i < 30; ++i) {
    Span span;
    span.begin = 10 * i;
    span.end = span.begin + 1;
    span.phrase_half = 1;
    spans.push_back(span);
  }
  constexpr double seeds = 900;
  std::map<std::int32_t, double> taken;
  for (std::uint64_t seed = 0; seed < seeds; ++seed)
    for (const auto number : effect_spans(spans, 10, seed)) ++taken[number];
  for (std::int32_t i = 0; i < 30; ++i) {
    EXPECT_LT(taken[i], worlds::most_by_chance(1.0 / 3, seeds));
    EXPECT_GT(taken[i], worlds::least_by_chance(1.0 / 3, seeds));
  }
}

} // namespace
} // namespace concord::subspaces
