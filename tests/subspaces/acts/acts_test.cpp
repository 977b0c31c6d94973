// Resampled removals and steering: against whole runs of the model with the changed rows, what they read, and their means by plain loops.
#include "concepts/token_file.hpp"
#include "subspaces/acts/donors.hpp"
#include "subspaces/acts/steering.hpp"
#include "subspaces/effects/effect_means.hpp"
#include "subspaces/npy_file.hpp"
#include "subspaces/whole_runs.hpp"
#include <ATen/ATen.h>
#include <algorithm>
#include <cstring>
#include <map>
#include <set>

namespace concord::subspaces {
namespace {

using namespace whole_runs;
using test::world;

std::vector<float> random_rows(std::uint64_t seed, Index rows) {
  const Philox random(seed, "rows");
  std::vector<float> values;
  for (Index i = 0; i < rows * small_model().config().hidden; ++i)
    values.push_back(static_cast<float>(2 * random.normal(static_cast<std::uint64_t>(i))));
  return values;
}

std::vector<Span> some_spans() {
  return {span_of(0, 1), span_of(11, 13), span_of(20, 24), span_of(37, 39), span_of(39, 40)};
}

constexpr std::int32_t spans_there = 5;

std::vector<std::int32_t> numbers() {
  return {0, 1, 2, 3, 4};
}

// --- Resampled removals -----------------------------------------------------------------------------------------------

TEST(ResampledRemovals, EqualWholeRunsWithTheChange) {
  const auto spans = some_spans();
  const std::vector<Basis> bases{random_basis(1, 20), random_basis(2, 60), random_basis(3, 5)};
  const std::vector<int> donor{1, 0, -1};
  const auto centre = some_centre();
  const SwapOf swap_of = [&](std::int32_t span) {
    const Index rows = spans[place(span)].length();
    return Swap{{random_rows(100 + static_cast<std::uint64_t>(span), rows), random_rows(200 + static_cast<std::uint64_t>(span), rows)},
                donor};
  };
  double largest = 0;
  for (const auto& [layer, after] : {std::pair<int, Index>{-1, 4}, {2, 4}, {5, 0}}) {
    SpanEffects out;
    Removals(small_model(), layer, centre, {&bases[0], &bases[1], &bases[2]}, after)
        .run_resampled({first_row, some_ids(), numbers()}, spans, swap_of, out);
    ASSERT_EQ(out.span, numbers());
    ASSERT_EQ(out.effects.size(), 15U);
    for (std::int32_t s = 0; s < spans_there; ++s)
      for (std::size_t b = 0; b < 3; ++b) {
        SCOPED_TRACE(fmt::format("layer {} after {} span {} basis {}", layer, after, s, b));
        const Effect& effect = out.effects[place(s) * 3 + b];
        if (donor[b] < 0) {
          EXPECT_TRUE(std::isnan(effect.kl) && std::isnan(effect.loss) && std::isnan(effect.energy));
          continue;
        }
        const Tensor u = columns_of(bases[b]);
        double energy = 0;
        double whole = 0;
        const auto slow = slow_change(layer, spans[place(s)], after, [&](const Tensor& x) {
          const Tensor y = at::tensor(swap_of(s).rows[place(donor[b])], at::kDouble).view_as(x);
          energy = (x - y).matmul(u).square().sum().item<double>();
          whole = (x - at::tensor(centre, at::kDouble)).square().sum().item<double>();
          return x - (x - y).matmul(u).matmul(u.t());
        });
        expect_near(effect.kl, slow.kl, 1e-5, 5e-7);
        expect_near(effect.loss, slow.loss, 1e-5, 1e-5);
        expect_near(effect.energy, energy, 1e-5, 1e-12);
        expect_near(out.energy_of_span[place(s)], whole, 1e-5, 0);
        largest = std::max(largest, effect.kl);
      }
  }
  EXPECT_GT(largest, 0.5);
}

/// The span's own rows put in its place change nothing; without a donor nothing is known.
TEST(ResampledRemovals, OfTheSameRowsChangeNothing) {
  const auto spans = some_spans();
  const Basis basis = random_basis(4, 50);
  Tensor behind;
  log_probabilities(2, 0, 1, [&](const Tensor& rows) { behind = rows.clone(); });
  const SwapOf own = [&](std::int32_t number) {
    const Span& span = spans[place(number)];
    if (number == 3) return Swap{{}, {-1}};
    const Tensor x = behind.slice(0, span.begin - first_row, span.end - first_row).contiguous();
    return Swap{{{x.data_ptr<float>(), x.data_ptr<float>() + x.numel()}}, {0}};
  };
  SpanEffects out;
  Removals(small_model(), 2, some_centre(), {&basis}, 4).run_resampled({first_row, some_ids(), numbers()}, spans, own, out);
  for (std::size_t s = 0; s < 5; ++s) {
    if (s == 3) {
      EXPECT_TRUE(std::isnan(out.effects[s].kl) && std::isnan(out.energy_of_span[s]));
      continue;
    }
    EXPECT_LT(std::abs(out.effects[s].kl), 1e-6);
    EXPECT_LT(out.effects[s].energy, 1e-6); // the rows of a whole run and of one that keeps queries differ by rounding
  }
}

std::vector<Span> spans_of_lengths() {
  const Philox random(21, "spans");
  std::vector<Span> spans;
  for (std::uint64_t i = 0; i < 300; ++i) {
    Span span;
    span.begin = 10 * static_cast<Index>(i);
    span.end = span.begin + 1 + static_cast<Index>(random.below(4 * i, 3));
    span.concept_number = static_cast<std::int32_t>(random.below(4 * i + 1, 4));
    span.random = random.below(4 * i + 2, 3) == 0;
    if (i == 50) span.end = span.begin + 7; // one of a kind
    if (i == 60 || i == 61) {               // two concepts alone have this length
      span.end = span.begin + 8;
      span.concept_number = static_cast<std::int32_t>(i - 60);
      span.random = false;
    }
    spans.push_back(span);
  }
  return spans;
}

TEST(DonorsOfSpans, AreOfOtherConceptsAndTheSameLength) {
  const auto spans = spans_of_lengths();
  std::vector<std::int32_t> all;
  for (std::int32_t i = 0; i < 300; ++i)
    if (!spans[place(i)].random) all.push_back(i);
  const auto drawn = draw_donors(spans, all, {}, 5);
  ASSERT_EQ(drawn.size(), all.size());
  std::set<std::int32_t> used;
  for (const auto& [number, donors] : drawn) {
    const Span& span = spans[place(number)];
    if (span.length() == 7) {
      EXPECT_EQ(donors, (Donors{-1, -1}));
      continue;
    }
    for (const std::int32_t donor : donors) {
      if (span.length() == 8 && donor == donors[1]) {
        EXPECT_EQ(donor, -1);
        continue;
      }
      ASSERT_GE(donor, 0);
      EXPECT_FALSE(spans[place(donor)].random);
      EXPECT_EQ(spans[place(donor)].length(), span.length());
      EXPECT_NE(spans[place(donor)].concept_number, span.concept_number);
      used.insert(donor);
    }
    if (donors[1] >= 0) {
      EXPECT_NE(spans[place(donors[0])].concept_number, spans[place(donors[1])].concept_number);
    }
    for (Index removed = 0; removed < 4; ++removed) {
      const int which = donor_for(spans, donors, removed);
      if (which >= 0) {
        EXPECT_NE(spans[place(donors[place(which)])].concept_number, removed);
      }
      EXPECT_EQ(which, spans[place(donors[0])].concept_number != removed ? 0 : donors[1] >= 0 ? 1 : -1);
    }
  }
  EXPECT_GT(used.size(), 120U);
  EXPECT_NE(draw_donors(spans, all, {}, 6), drawn);
  std::vector<std::int32_t> sinks; // spans whose rows are too long behind a layer take nobody's place
  for (const std::int32_t number : all)
    if (number % 3 == 0) sinks.push_back(number);
  Index changed = 0;
  for (const auto& [number, donors] : draw_donors(spans, all, sinks, 5)) {
    for (const std::int32_t donor : donors) EXPECT_TRUE(donor < 0 || donor % 3 != 0) << number;
    changed += donors != drawn.at(number) ? 1 : 0;
  }
  EXPECT_GT(changed, 0);
}

TEST(DonorsOfSpans, AreAUniformDraw) {
  std::vector<Span> spans(31);
  for (std::size_t i = 0; i < spans.size(); ++i) {
    spans[i].begin = static_cast<Index>(10 * i);
    spans[i].end = spans[i].begin + 1;
    spans[i].concept_number = i == 0 ? 0 : i <= 20 ? 1 : 2;
  }
  constexpr double seeds = 3000;
  std::map<std::int32_t, double> first, second;
  for (std::uint64_t seed = 0; seed < seeds; ++seed) {
    const auto donors = draw_donors(spans, {0}, {}, seed).at(0);
    ++first[donors[0]];
    ++second[donors[1]];
  }
  for (std::int32_t i = 1; i < 31; ++i) {
    EXPECT_LT(first[i], worlds::most_by_chance(1.0 / 30, seeds));
    EXPECT_GT(first[i], worlds::least_by_chance(1.0 / 30, seeds));
    const double share = i <= 20 ? 1.0 / 3 / 20 : 2.0 / 3 / 10; // one of the concept that the first is not of
    EXPECT_LT(second[i], worlds::most_by_chance(share, seeds));
    EXPECT_GT(second[i], worlds::least_by_chance(share, seeds));
  }
}

TEST(DonorsOfSpans, AreReadAtTheirRows) {
  std::vector<float> values;
  for (int i = 0; i < 300; ++i) values.push_back(static_cast<float>(i));
  const io::RowSource rows(test::npy_of("acts", values, 3));
  std::vector<Span> spans(3);
  for (std::int32_t i = 0; i < 3; ++i) {
    spans[place(i)].begin = 10 + 20 * i;
    spans[place(i)].end = spans[place(i)].begin + 2;
    spans[place(i)].concept_number = i;
  }
  const auto swap = read_swap(rows, spans, {2, 1}, 3, 6);
  EXPECT_EQ(swap.rows, (std::vector<std::vector<float>>{{150, 151, 152, 153, 154, 155}, {90, 91, 92, 93, 94, 95}}));
  EXPECT_EQ(swap.donor, (std::vector<int>{0, 0, 1, 0, 0, 1})); // the first is of concept 2
  EXPECT_EQ(read_swap(rows, spans, {2, -1}, 3, 3).donor, (std::vector<int>{0, 0, -1}));
  EXPECT_TRUE(read_swap(rows, spans, {-1, -1}, 3, 3).rows.empty());
}

// --- Steering ---------------------------------------------------------------------------------------------------------

/// Two kinds of three concepts; concept 1 has no direction of the first.
SteeringDirections some_directions() {
  SteeringDirections directions{{BasisKind::residual, BasisKind::dealt}, 3, small_model().config().hidden, {}, {}};
  for (std::uint64_t i = 0; i < 6; ++i) {
    directions.unit.push_back(i == 1 ? std::vector<double>{} : random_basis(30 + i, 1).u);
    directions.length.push_back(i == 1 ? std::nan("") : 4 + static_cast<double>(i));
  }
  return directions;
}

/// Concept 2 has no token.
const ConceptTokens some_tokens{{5, 9, 77, 300, 301}, {0, 1, 0, 1, 1}, {2, 3, 0}};

double log_mass(const Tensor& log_p, const std::vector<Index>& ids) {
  double sum = 0;
  for (const Index id : ids) sum += std::exp(log_p[id].item<double>());
  return std::log(sum);
}

TEST(SteeringWithDirections, EqualsWholeRunsWithTheChange) {
  const auto spans = some_spans();
  const auto directions = some_directions();
  double largest = 0;
  for (const auto& [layer, after, strength] : {std::tuple<int, Index, double>{-1, 4, 1}, {2, 4, 2}, {5, 0, -0.5}}) {
    SpanSteering out;
    Steering(small_model(), layer, directions, strength, some_tokens, after).run({first_row, some_ids(), numbers()}, spans, out);
    ASSERT_EQ(out.span, numbers());
    ASSERT_EQ(out.kl.size(), 30U);
    ASSERT_EQ(out.writes.size(), 90U);
    for (std::size_t s = 0; s < 5; ++s)
      for (std::size_t i = 0; i < 6; ++i) {
        SCOPED_TRACE(fmt::format("layer {} after {} span {} direction {}", layer, after, s, i));
        const float* writes = &out.writes[(s * 6 + i) * 3];
        EXPECT_TRUE(std::isnan(writes[2])) << "no token to write";
        if (i == 1) {
          EXPECT_TRUE(std::isnan(out.kl[s * 6 + i]) && std::isnan(writes[0]) && std::isnan(writes[1]));
          continue;
        }
        const auto slow = slow_change(layer, spans[s], after, [&, by = strength](const Tensor& x) {
          return x + at::tensor(directions.unit[i], at::kDouble) * (by * directions.length[i]);
        });
        expect_near(out.kl[s * 6 + i], slow.kl, 1e-5, 5e-7);
        EXPECT_NEAR(writes[0], log_mass(slow.changed[0], {5, 77}) - log_mass(slow.before[0], {5, 77}), 1e-4);
        EXPECT_NEAR(writes[1], log_mass(slow.changed[0], {9, 300, 301}) - log_mass(slow.before[0], {9, 300, 301}), 1e-4);
        largest = std::max(largest, out.kl[s * 6 + i]);
      }
  }
  EXPECT_GT(largest, 0.1);
}

TEST(SteeringWithDirections, OfStrengthNoughtChangesNothing) {
  SpanSteering out;
  Steering(small_model(), 2, some_directions(), 0, some_tokens, 4).run({first_row, some_ids(), numbers()}, some_spans(), out);
  Index measured = 0;
  for (const double kl : out.kl) {
    measured += std::isnan(kl) ? 0 : 1;
    EXPECT_FALSE(std::abs(kl) > 5e-7);
  }
  for (const float writes : out.writes) EXPECT_FALSE(std::abs(writes) > 2e-5F);
  EXPECT_EQ(measured, 25);
}

/// The bits of a span do not depend on what stands beside it.
TEST(SteeringWithDirections, OfASpanDoesNotDependOnOthers) {
  const auto spans = some_spans();
  const Steering steering(small_model(), 1, some_directions(), 1, some_tokens, 4);
  SpanSteering all;
  steering.run({first_row, some_ids(), numbers()}, spans, all);
  for (std::int32_t s = 0; s < spans_there; ++s) {
    SpanSteering one;
    steering.run({first_row, some_ids(), {s}}, spans, one);
    EXPECT_EQ(std::memcmp(one.kl.data(), &all.kl[place(s) * 6], 6 * sizeof(double)), 0);
    EXPECT_EQ(std::memcmp(one.writes.data(), &all.writes[place(s) * 18], 18 * sizeof(float)), 0);
  }
}

/// Behind the last block a token's own row of the (tied) head raises that token, the more the longer it is, until it is all that the model
/// says.
TEST(SteeringWithDirections, OfATokensRowBehindTheLastBlockRaisesIt) {
  const c10::InferenceMode no_gradients;
  const auto& config = small_model().config();
  const std::vector<std::int32_t> token{123};
  const Tensor row = small_model().embed(token, small_model().contexts({0, 1}))[0].to(at::kDouble);
  const Tensor unit = row / row.norm();
  const SteeringDirections directions{{BasisKind::residual}, 2, config.hidden, {{}, {}}, {1, 1}};
  auto filled = directions;
  for (auto& of : filled.unit) of.assign(unit.data_ptr<double>(), unit.data_ptr<double>() + config.hidden);
  const ConceptTokens tokens{{123, 200}, {0, 1}, {1, 1}};
  float before = 0;
  for (const double strength : {1.0, 2.0, 4.0}) {
    SpanSteering out;
    Steering(small_model(), config.layers - 1, filled, strength, tokens, 0).run({first_row, some_ids(), {1}}, some_spans(), out);
    EXPECT_GT(out.writes[0], before);
    EXPECT_GT(out.writes[0], out.writes[1] + 0.1F) << "another token";
    before = out.writes[0];
  }
  EXPECT_GT(before, 1);
}

/// Against a plain loop; the same at any number of ranks.
TEST(SteeringWithDirections, HasTheLengthOfTheConceptsOwnSpans) {
  constexpr Index rows = 400;
  constexpr Index d = 6;
  const Philox random(41, "rows");
  std::vector<float> values;
  for (std::uint64_t i = 0; i < rows * d; ++i) values.push_back(static_cast<float>(random.normal(i)));
  const io::RowSource source(test::npy_of("lengths", values, d));
  std::vector<Span> spans;
  for (std::uint64_t i = 0; i < 150; ++i) {
    Span span;
    span.begin = static_cast<Index>(random.below(20000 + 8 * i, rows - 3));
    span.end = span.begin + 1 + static_cast<Index>(i % 3);
    span.concept_number = static_cast<std::int32_t>(i % 4);
    span.phrase_half = static_cast<std::int8_t>(random.below(20001 + 8 * i, 2));
    span.random = random.below(20002 + 8 * i, 4) == 0;
    if (span.concept_number == 3) span.phrase_half = 1; // none to be measured on
    spans.push_back(span);
  }
  LayerBases bases;
  bases.d = d;
  for (std::uint64_t i = 0; i < d; ++i) bases.centre.push_back(0.3 * random.normal(40000 + i));
  bases.of.assign(basis_kinds, std::vector<Basis>(4, Basis{d, 0, {}, 0}));
  for (std::size_t kind = 0; kind < basis_kinds; ++kind)
    for (std::size_t c = 0; c < 4; ++c) {
      if (kind == static_cast<std::size_t>(BasisKind::sae) && c == 1) continue;
      Basis& basis = bases.of[kind][c];
      basis.k = 2;
      for (std::uint64_t i = 0; i < 2 * d; ++i) basis.u.push_back(random.normal(50000 + 1000 * kind + 100 * c + i));
    }
  const std::vector<BasisKind> kinds{BasisKind::sae, BasisKind::random, BasisKind::dealt};
  for (const SpanRow row : {SpanRow::last, SpanRow::mean}) {
    const auto directions = steering_directions(world(), source, spans, bases, kinds, row);
    const auto projections = [&](BasisKind kind, std::int32_t c) {
      std::vector<double> found;
      for (const Span& span : spans) {
        if (span.random || span.phrase_half != 0 || span.concept_number != c) continue;
        double sum = 0;
        const Index first = row == SpanRow::last ? span.end - 1 : span.begin;
        for (Index r = first; r < span.end; ++r)
          for (Index j = 0; j < d; ++j)
            sum += (static_cast<double>(values[place(r * d + j)]) - bases.centre[place(j)]) *
                   bases.of[static_cast<std::size_t>(kind)][place(c)].u[place(2 * j)] / static_cast<double>(span.end - first);
        found.push_back(sum);
      }
      std::sort(found.begin(), found.end());
      return found.empty() ? std::nan("") : (found[(found.size() - 1) / 2] + found[found.size() / 2]) / 2;
    };
    ASSERT_EQ(directions.unit.size(), 12U);
    for (std::size_t kind = 0; kind < 3; ++kind)
      for (std::int32_t c = 0; c < 4; ++c) {
        SCOPED_TRACE(fmt::format("{} of concept {}", name_of(kinds[kind]), c));
        const std::size_t here = directions.place(kind, c);
        if (c == 3 || (c == 1 && kind < 2)) { // no span; no SAE basis, whose lengths `random` takes
          EXPECT_TRUE(directions.unit[here].empty() && std::isnan(directions.length[here]));
          continue;
        }
        EXPECT_NEAR(directions.length[here], std::abs(projections(kind == 2 ? BasisKind::residual : BasisKind::sae, c)), 1e-9);
        const double sign = projections(kinds[kind], c) > 0 ? 1 : -1;
        for (Index j = 0; j < d; ++j)
          EXPECT_EQ(directions.unit[here][place(j)], sign * bases.of[static_cast<std::size_t>(kinds[kind])][place(c)].u[place(2 * j)]);
      }
  }
}

TEST(FirstTokensOfConcepts, AreThoseOfOneConceptAlone) {
  const auto path = test::token_file("first", {{0, {"<bos>", "a", "b", "c", "d"}}, {1, {"<bos>", "c", "a", "e", "b"}}});
  const corpus::TokenReader tokens(path);
  const auto ids = tokens.ids(0, tokens.count());
  std::vector<Span> spans;
  const auto add = [&](Index begin, std::int32_t concept_number, bool random) {
    Span span;
    span.begin = begin;
    span.end = begin + 2;
    span.concept_number = concept_number;
    span.random = random;
    spans.push_back(span);
  };
  add(1, 0, false); // a
  add(2, 1, false); // b
  add(3, 0, false); // c
  add(4, 2, true);  // d, at random
  add(6, 2, false); // c, too
  add(7, 0, false); // a again
  add(8, 1, false); // e
  for (std::int32_t i = 0; i < 3; ++i) add(1, 0, false);
  const auto found = concept_tokens(world(), tokens, spans, 3);
  std::map<std::int32_t, std::int32_t> expected{{ids[1], 0}, {ids[2], 1}, {ids[8], 1}};
  ASSERT_EQ(found.id.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(found.concept_number[i], expected.at(found.id[i]));
  EXPECT_TRUE(std::is_sorted(found.id.begin(), found.id.end()));
  EXPECT_EQ(found.count, (std::vector<std::int32_t>{1, 2, 0}));
}

// --- Means of steering ------------------------------------------------------------------------------------------------

TEST(SteeringMeans, EqualAPlainLoop) {
  constexpr Index concepts = 3;
  const Philox random(51, "spans");
  std::vector<Span> spans(400);
  SpanSteering steered;
  std::uint64_t draw = 0;
  for (std::size_t i = 0; i < spans.size(); ++i) {
    spans[i].document = static_cast<Index>(random.below(draw++, 60));
    spans[i].document_half = static_cast<std::int8_t>(spans[i].document % 2);
    spans[i].concept_number = static_cast<std::int32_t>(random.below(draw++, concepts));
  }
  SteeringDirections directions{{BasisKind::residual, BasisKind::sae}, concepts, 1, std::vector<std::vector<double>>(6, {1.0}), {}};
  directions.unit[4].clear();
  for (std::size_t i = 0; i < spans.size(); i += 1 + i % 3) steered.span.push_back(static_cast<std::int32_t>(i));
  std::reverse(steered.span.begin(), steered.span.end());
  for (std::size_t i = 0; i < steered.span.size() * 6; ++i) steered.kl.push_back(std::exp(random.normal(draw++)));
  for (std::size_t i = 0; i < steered.span.size() * 18; ++i)
    steered.writes.push_back(i % 3 == 2 ? std::nanf("") : static_cast<float>(random.normal(draw++)));
  const auto means = steering_means(spans, steered, directions);
  const auto mean_of = [&](int half, const std::function<double(std::size_t place, const Span& span)>& of) {
    std::map<Index, std::vector<double>> documents;
    for (std::size_t i = 0; i < steered.span.size(); ++i) {
      const Span& span = spans[place(steered.span[i])];
      const double value = span.document_half == half ? of(i, span) : std::nan("");
      if (!std::isnan(value)) documents[span.document].push_back(value);
    }
    std::vector<double> each;
    for (const auto& [document, values] : documents) {
      double sum = 0;
      for (const double value : values) sum += value;
      each.push_back(sum / static_cast<double>(values.size()));
    }
    std::sort(each.begin(), each.end());
    const std::size_t cut = each.size() / 20;
    double sum = 0;
    for (std::size_t i = cut; i < each.size() - cut; ++i) sum += each[i];
    return sum / static_cast<double>(each.size() - 2 * cut);
  };
  for (int kind = 0; kind < basis_kinds; ++kind)
    for (int half = 0; half < 2; ++half)
      for (Index c = 0; c < concepts; ++c)
        for (Index other = 0; other < concepts; ++other) {
          SCOPED_TRACE(fmt::format("kind {} half {} {} on {}", kind, half, c, other));
          const auto here = means.place(kind, half, c, other);
          const auto direction = place((kind == static_cast<int>(BasisKind::residual) ? 0 : 3) + c);
          if (kind > 1 || direction == 4) {
            EXPECT_TRUE(std::isnan(means.kl[here]) && std::isnan(means.kl_error[here]) && std::isnan(means.writes[here]));
            continue;
          }
          const double kl = mean_of(half, [&](std::size_t i, const Span& span) {
            return span.concept_number == other ? steered.kl[i * 6 + direction] : std::nan("");
          });
          EXPECT_NEAR(means.kl[here], kl, 1e-12);
          EXPECT_GT(means.kl_error[here], 0);
          const double writes = mean_of(half, [&](std::size_t i, const Span& span) {
            if (span.concept_number == c || span.concept_number == other) return std::nan("");
            return static_cast<double>(steered.writes[(i * 6 + direction) * 3 + place(other)]);
          });
          EXPECT_EQ(std::isnan(means.writes[here]), other == 2) << "nothing to write";
          if (other != 2) {
            EXPECT_NEAR(means.writes[here], writes, 1e-12);
          }
        }
  const auto empty = steering_means(spans, {}, directions);
  EXPECT_TRUE(std::all_of(empty.writes.begin(), empty.writes.end(), [](double value) { return std::isnan(value); }));
}

TEST(SteeringMeans, OfADirectionThatWritesItsConceptHaveAContrast) {
  constexpr Index concepts = 12;
  const Philox random(61, "writes");
  SteeringMatrices matrices(concepts);
  std::vector<Index> groups;
  for (Index c = 0; c < concepts; ++c) groups.push_back(c / 4);
  for (int half = 0; half < 2; ++half)
    for (Index c = 0; c < concepts; ++c)
      for (Index other = 0; other < concepts; ++other)
        for (const BasisKind kind : {BasisKind::sae, BasisKind::random}) {
          const auto here = matrices.place(static_cast<int>(kind), half, c, other);
          matrices.writes[here] = random.normal(here) + (kind == BasisKind::sae && c == other ? 3 : 0);
        }
  const auto sae = writes_contrast(matrices, BasisKind::sae, groups, {999, 1});
  EXPECT_NEAR(sae.contrast, 3, 1);
  EXPECT_LE(sae.p_free, 0.002);
  EXPECT_LE(sae.p_grouped, 0.01);
  EXPECT_LT(std::abs(writes_contrast(matrices, BasisKind::random, groups, {999, 1}).contrast), 1);
  EXPECT_TRUE(std::isnan(writes_contrast(matrices, BasisKind::dealt, groups, {999, 1}).contrast));
}

} // namespace
} // namespace concord::subspaces
