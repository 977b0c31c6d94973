// Effects of carried bases: their means against those of the model's own bases and plain loops.
#include "concord/subspaces/carried/carried.hpp"

#include "subspaces/effects/effect_means.hpp"
#include "subspaces/worlds.hpp"
#include <algorithm>
#include <map>

namespace concord::subspaces {
namespace {

using worlds::at;

constexpr Index concepts = 4;
constexpr Index d = 11;

Basis some_basis(std::uint64_t seed, Index k) {
  const Philox random(seed, "basis");
  std::vector<double> columns;
  for (Index i = 0; i < d * k; ++i) columns.push_back(random.normal(static_cast<std::uint64_t>(i)));
  return agreement::leading_subspace(columns, d, k, k);
}

LayerBases some_bases(std::uint64_t seed) {
  LayerBases bases;
  bases.d = d;
  bases.centre.assign(at(d), 0);
  for (int kind = 0; kind < basis_kinds; ++kind) {
    bases.of.emplace_back();
    for (Index c = 0; c < concepts; ++c)
      bases.of.back().push_back(some_basis(seed + static_cast<std::uint64_t>(kind * concepts + c), 1 + (kind + c) % 3));
  }
  bases.of[static_cast<std::size_t>(BasisKind::sae)][2] = {d, 0, {}, 0}; // without members
  return bases;
}

AffineMap some_map(std::uint64_t seed) {
  AffineMap map{d, d, {}, std::vector<double>(at(d))};
  const Philox random(seed, "map");
  for (Index i = 0; i < d * d; ++i) map.m.push_back(random.normal(static_cast<std::uint64_t>(i)));
  return map;
}

std::vector<Span> some_spans() {
  const Philox random(1, "spans");
  std::vector<Span> spans;
  for (std::uint64_t i = 0; i < 400; ++i) {
    Span span;
    span.begin = static_cast<Index>(10 * i);
    span.end = span.begin + 1;
    span.document = 7 + 3 * static_cast<Index>(random.below(2 * i, 60));
    span.document_half = 1;
    span.phrase_half = 1;
    span.concept_number = static_cast<std::int32_t>(random.below(2 * i + 1, concepts));
    spans.push_back(span);
  }
  return spans;
}

struct World {
  std::vector<Span> spans = some_spans();
  LayerBases from = some_bases(100), to = some_bases(200);
  std::vector<std::vector<Basis>> bases = carried_bases(from, to, some_map(1), some_map(2), 5);
  RemovedCarried removed = removed_of(bases);
  SpanEffects effects;
  World() {
    const Philox random(3, "effects");
    std::uint64_t draw = 0;
    for (std::size_t i = 0; i < spans.size(); i += 1 + i % 2) {
      effects.span.push_back(static_cast<std::int32_t>(i));
      effects.energy_of_span.push_back(5 + random.uniform(draw++));
      for (const auto& [kind, c] : removed.which) {
        const double own = c == spans[i].concept_number ? 3 : 1;
        effects.effects.push_back({own * std::exp(random.normal(draw++)),
                                   random.uniform(draw++) < 0.1 ? std::nan("") : random.normal(draw++), random.uniform(draw++)});
      }
    }
  }
  CarriedEffects measured(Index replicates = 50) const {
    CarriedTests tests;
    tests.groups = {0, 0, 1, 1};
    tests.permutations = 99;
    tests.replicates = replicates;
    return carried_effects(spans, effects, removed, bases, tests);
  }
};

TEST(CarriedBases, AreOfTheKindsThatTheirNamesSay) {
  const World world;
  const auto of = [&](CarriedKind kind) -> const std::vector<Basis>& { return world.bases[static_cast<std::size_t>(kind)]; };
  const auto same = [](const Basis& a, const Basis& b) { return a.k == b.k && a.u == b.u; };
  for (std::size_t c = 0; c < concepts; ++c) {
    EXPECT_TRUE(same(of(CarriedKind::own_residual)[c], world.to.of[static_cast<std::size_t>(BasisKind::residual)][c]));
    EXPECT_TRUE(same(of(CarriedKind::own_sae)[c], world.to.of[static_cast<std::size_t>(BasisKind::sae)][c]));
    const std::vector<std::tuple<CarriedKind, BasisKind, std::uint64_t>> sources{{CarriedKind::residual, BasisKind::residual, 1},
                                                                                 {CarriedKind::sae, BasisKind::sae, 1},
                                                                                 {CarriedKind::dealt, BasisKind::dealt, 1},
                                                                                 {CarriedKind::residual_shuffled, BasisKind::residual, 2},
                                                                                 {CarriedKind::sae_shuffled, BasisKind::sae, 2}};
    for (const auto& [kind, source, map] : sources)
      EXPECT_TRUE(same(of(kind)[c], carried(some_map(map), world.from.of[static_cast<std::size_t>(source)][c]))) << name_of(kind);
    EXPECT_EQ(of(CarriedKind::residual_random)[c].k, of(CarriedKind::residual)[c].k);
    EXPECT_EQ(of(CarriedKind::sae_random)[c].k, of(CarriedKind::sae)[c].k);
  }
  EXPECT_FALSE(same(of(CarriedKind::residual_random)[0], of(CarriedKind::residual_random)[3])) << "each concept has its own";
  EXPECT_EQ(world.removed.bases.size(), static_cast<std::size_t>(carried_kinds * concepts - 4)) << "of concept 2 no basis of features";
}

/// A carried basis is that of the rows' differences: M U and the basis span the same.
TEST(CarriedBases, SpanTheMappedDirections) {
  const AffineMap map = some_map(1);
  const Basis basis = some_basis(9, 3);
  const Basis moved = carried(map, basis);
  for (Index column = 0; column < 3; ++column) {
    std::vector<double> direction(at(d));
    for (Index i = 0; i < d; ++i)
      for (Index j = 0; j < d; ++j) direction[at(i)] += map.m[at(i * d + j)] * basis.u[at(j * 3 + column)];
    double squares = 0;
    double inside = 0;
    for (const double value : direction) squares += value * value;
    for (Index k = 0; k < moved.k; ++k) {
      double product = 0;
      for (Index i = 0; i < d; ++i) product += direction[at(i)] * moved.u[at(i * moved.k + k)];
      inside += product * product;
    }
    EXPECT_NEAR(inside, squares, 1e-10 * squares);
  }
}

/// The model's own bases have the means that effect_means() gives.
TEST(EffectsOfCarriedBases, OfOwnBasesAreThoseOfTheLayer) {
  const World world;
  const auto found = world.measured();
  const RemovedBases removed{{BasisKind::residual}, concepts};
  SpanEffects own;
  own.span = world.effects.span;
  own.energy_of_span = world.effects.energy_of_span;
  for (std::size_t i = 0; i < own.span.size(); ++i) // the first kind stands first
    for (std::size_t c = 0; c < concepts; ++c) own.effects.push_back(world.effects.effects[i * world.removed.bases.size() + c]);
  const auto expected = effect_means(world.spans, own, removed, world.to);
  for (Index c = 0; c < concepts; ++c) {
    EXPECT_EQ(found.spans[at(c)], expected.spans[expected.place(0, 1, c)]);
    EXPECT_EQ(found.documents[at(c)], expected.documents[expected.place(0, 1, c)]);
    EXPECT_GT(found.documents[at(c)], 20) << "so many that some are cut";
    for (Index other = 0; other < concepts; ++other) {
      const auto place = at(c * concepts + other);
      const auto there = expected.place(0, static_cast<int>(BasisKind::residual), 1, c, other);
      EXPECT_EQ(found.kl[place], expected.kl[there]);
      EXPECT_EQ(found.loss[place], expected.loss[there]);
      EXPECT_NEAR(found.energy[place], expected.energy[there], 1e-12);
    }
  }
}

TEST(EffectsOfCarriedBases, RatiosAndContrastsFollowFromTheMatrices) {
  const World world;
  const auto found = world.measured();
  const auto kl = [&](int kind, Index c, Index other) { return found.kl[at((kind * concepts + c) * concepts + other)]; };
  for (int kind = 0; kind < carried_kinds; ++kind) {
    SCOPED_TRACE(name_of(static_cast<CarriedKind>(kind)));
    const auto own = static_cast<int>(own_of(static_cast<CarriedKind>(kind)));
    double above = 0;
    double below = 0;
    double diagonal = 0;
    double rest = 0;
    double cells = 0;
    for (Index c = 0; c < concepts; ++c) {
      EXPECT_EQ(found.dimensions[at(kind * concepts + c)], world.bases[at(kind)][at(c)].k);
      const double ratio = found.ratio[at(kind * concepts + c)];
      if (world.bases[at(kind)][at(c)].k == 0) {
        EXPECT_TRUE(std::isnan(ratio));
        EXPECT_TRUE(std::isnan(kl(kind, c, 0)));
        continue;
      }
      EXPECT_DOUBLE_EQ(ratio, kl(kind, c, c) / kl(own, c, c));
      above += kl(kind, c, c);
      below += kl(own, c, c);
      diagonal += kl(kind, c, c);
      for (Index other = 0; other < concepts; ++other) {
        if (world.bases[at(kind)][at(other)].k == 0) continue; // a contrast is over the concepts that have a basis
        rest += other == c ? 0 : kl(kind, c, other);
        ++cells;
      }
    }
    const double kept = std::sqrt(cells);
    EXPECT_NEAR(found.mean_ratio[at(3 * kind)], above / below, 1e-12);
    EXPECT_NEAR(found.contrast[at(kind)], diagonal / kept - rest / (cells - kept), 1e-12);
    EXPECT_GT(found.contrast[at(kind)], 1) << "3 on its own concept, 1 on others";
    EXPECT_LE(found.contrast_p[at(2 * kind)], kept > 3 ? 0.1 : 0.2) << "of 24 permutations, or 6";
    EXPECT_GE(found.contrast_p[at(2 * kind + 1)], found.contrast_p[at(2 * kind)] - 0.2);
    const double low = found.mean_ratio[at(3 * kind + 1)];
    const double high = found.mean_ratio[at(3 * kind + 2)];
    EXPECT_LE(low, found.mean_ratio[at(3 * kind)]);
    EXPECT_GE(high, found.mean_ratio[at(3 * kind)]);
    EXPECT_EQ(low == high, kind == own) << "a ratio to itself is 1";
  }
}

/// The interval is as wide as what so many documents leave open: against the spread of ratios of worlds drawn anew.
TEST(EffectsOfCarriedBases, IntervalOfTheRatioHoldsTheTruth) {
  constexpr int worlds_drawn = 60;
  double held = 0;
  for (std::uint64_t seed = 0; seed < worlds_drawn; ++seed) {
    World world;
    const Philox random(seed, "anew");
    std::uint64_t draw = 0;
    for (std::size_t i = 0; i < world.effects.span.size(); ++i) {
      const double of_span = std::exp(0.7 * random.normal(draw++)); // both bases act more on some spans
      for (std::size_t b = 0; b < world.removed.which.size(); ++b) {
        const double size = world.removed.which[b][0] == static_cast<Index>(CarriedKind::residual) ? 0.6 : 1;
        world.effects.effects[i * world.removed.which.size() + b].kl = size * of_span * std::exp(0.5 * random.normal(draw++));
      }
    }
    CarriedTests tests;
    tests.permutations = 1;
    tests.replicates = 100;
    tests.seed = seed;
    const auto found = carried_effects(world.spans, world.effects, world.removed, world.bases, tests);
    const auto place = 3 * static_cast<std::size_t>(CarriedKind::residual);
    held += found.mean_ratio[place + 1] <= 0.6 && 0.6 <= found.mean_ratio[place + 2] ? 1 : 0;
  }
  EXPECT_GT(held, 0.85 * worlds_drawn);
}

} // namespace
} // namespace concord::subspaces
