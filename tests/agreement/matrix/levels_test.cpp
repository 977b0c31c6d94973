// Levels and power of the agreement test in planted worlds, nominal 5 %: the grouped test holds in all of them, and the tests that it
// takes the place of are shown to fail. Every line of figures is printed; docs/subspaces.md holds them.
#include "agreement/worlds.hpp"
#include "support/support.hpp"
#include <array>
#include <cstdio>

namespace concord::agreement {
namespace {

using worlds::Shape;
using worlds::World;

constexpr Shape eight_of_four{8, 4};
constexpr Shape four_of_six{4, 6};
constexpr double alpha = 0.05;

/// Shares of draws with p <= 5 %.
struct Rates {
  Index draws = 0;
  double grouped = 0, grouped_robust = 0, free = 0, free_robust = 0, mantel = 0;
};

Rates rates(const World& world, const Shape& shape, Index draws, bool halves = false) {
  Rates r;
  r.draws = draws;
  const double one = 1 / static_cast<double>(draws);
  for (Index t = 0; t < draws; ++t) {
    const auto seed = static_cast<std::uint64_t>(t);
    const auto test = matrix_agreement(worlds::draw(world, shape, seed, halves), {199, seed});
    r.grouped += test.grouped.p <= alpha ? one : 0;
    r.grouped_robust += test.grouped.p_robust <= alpha ? one : 0;
    r.free += test.free.p <= alpha ? one : 0;
    r.free_robust += test.free.p_robust <= alpha ? one : 0;
    r.mantel += test.free.p_spearman <= alpha ? one : 0;
  }
  std::printf("%-46s %2lld x %lld%s  grouped %5.1f robust %5.1f  free %5.1f robust %5.1f  Mantel %5.1f\n", world.name.c_str(),
              static_cast<long long>(shape.groups), static_cast<long long>(shape.size), halves ? " halves" : "", 100 * r.grouped,
              100 * r.grouped_robust, 100 * r.free, 100 * r.free_robust, 100 * r.mantel);
  return r;
}

/// At most `level` but for three and a half standard deviations of a share of so many draws.
void expect_at_most(double share, double level, const Rates& r, const std::string& what) {
  EXPECT_LE(share, level + 3.5 * std::sqrt(level * (1 - level) / static_cast<double>(r.draws))) << what;
}
void expect_at_least(double share, double level, const Rates& r, const std::string& what) {
  EXPECT_GE(share, level - 3.5 * std::sqrt(level * (1 - level) / static_cast<double>(r.draws))) << what;
}

World named(const char* name) {
  World w;
  w.name = name;
  return w;
}

TEST(AgreementLevels, HoldWithoutGroups) {
  auto none = named("none");
  auto additive = named("additive frequency");
  additive.frequency = 1;
  auto multiplied = named("multiplied frequency");
  multiplied.frequency = 1;
  multiplied.exponential = true;
  auto co_occurrence = named("co-occurrence (as Z), frequency");
  co_occurrence.frequency = co_occurrence.co_occurrence = 1;
  for (const auto& shape : {eight_of_four, four_of_six}) {
    for (const auto& world : {none, additive, multiplied}) {
      const auto r = rates(world, shape, 400);
      for (const double share : {r.grouped, r.grouped_robust, r.free, r.free_robust}) {
        expect_at_most(share, 0.05, r, world.name);
        expect_at_least(share, 0.05, r, world.name);
      }
      if (world.frequency > 0) {
        EXPECT_GE(r.mantel, 0.9) << world.name; // the plain test fails
      } else {
        expect_at_most(r.mantel, 0.05, r, world.name);
      }
    }
    const auto r = rates(co_occurrence, shape, 400);
    expect_at_most(r.grouped, 0.10, r, "co-occurrence");
    expect_at_most(r.grouped_robust, 0.10, r, "co-occurrence");
    EXPECT_GE(r.mantel, 0.9);
  }
}

/// Where a frequency that both share multiplies noise that they do not, products of residuals are largest where both are large: only the
/// robust t allows for that.
TEST(AgreementLevels, HoldForSignedNoiseByTheRobustTAlone) {
  auto world = named("signed: exp(frequency) times noise");
  world.frequency = 1;
  world.signed_noise = true;
  for (const auto& shape : {eight_of_four, four_of_six}) {
    const auto r = rates(world, shape, 600);
    expect_at_most(r.grouped_robust, 0.075, r, "signed");
    expect_at_most(r.free_robust, 0.075, r, "signed");
    EXPECT_GE(r.grouped, 0.08);
  }
}

TEST(AgreementLevels, HoldWithGroupsWhereTheyArePermutedAsGroups) {
  auto groups = named("groups");
  groups.groups = 1;
  auto additive = groups;
  additive.name = "groups, additive frequency";
  additive.frequency = 1;
  auto multiplied = additive;
  multiplied.name = "groups, multiplied frequency";
  multiplied.exponential = true;
  auto all = additive;
  all.name = "groups, co-occurrence (as Z), frequency";
  all.co_occurrence = 1;
  for (const auto& shape : {eight_of_four, four_of_six})
    for (const auto& world : {groups, additive, multiplied, all}) {
      const auto r = rates(world, shape, 400);
      expect_at_most(r.grouped, world.co_occurrence > 0 ? 0.10 : 0.05, r, world.name);
      expect_at_most(r.grouped_robust, world.co_occurrence > 0 ? 0.10 : 0.05, r, world.name);
      expect_at_least(r.grouped, 0.05, r, world.name);
      EXPECT_GE(r.free, 0.15) << world.name; // concepts that are kin are not exchangeable
      EXPECT_GE(r.free_robust, 0.15) << world.name;
    }
}

TEST(AgreementLevels, HoldWhenHalvesAreCrossed) {
  auto world = named("groups, co-occurrence (as Z), frequency");
  world.groups = world.frequency = world.co_occurrence = 1;
  const auto r = rates(world, eight_of_four, 300, true);
  expect_at_most(r.grouped, 0.10, r, world.name);
  expect_at_most(r.grouped_robust, 0.10, r, world.name);
  EXPECT_GE(r.free, 0.15);
}

/// Interactions that are shared, at half the noise; and those of half of the concepts alone, at six tenths.
TEST(AgreementPower, FindsSharedInteractions) {
  auto shared = named("shared at 0.5");
  shared.shared = 0.5;
  auto half = named("shared for half the concepts at 0.6");
  half.shared = 0.6;
  half.shared_rows = 0.5;
  auto all = named("shared at 0.5, groups 0.6, Z, frequency");
  all.shared = 0.5;
  all.groups = 0.6;
  all.frequency = all.co_occurrence = 1;
  auto half_all = all;
  half_all.name = "shared for half at 0.7, groups 0.6, Z, frequency";
  half_all.shared = 0.7;
  half_all.shared_rows = 0.5;
  for (const auto& world : {shared, half, all, half_all}) {
    const auto r = rates(world, eight_of_four, 200);
    EXPECT_GE(r.grouped, 0.95) << world.name;
    EXPECT_GE(r.grouped_robust, 0.95) << world.name;
  }
  EXPECT_GE(rates(shared, four_of_six, 200).grouped, 0.95);
  EXPECT_GE(rates(shared, eight_of_four, 200, true).grouped, 0.95);
}

/// What groups as large as the noise cost: figures for the docs, and that the test is no worse than it was.
TEST(AgreementPower, FallsWithGroupsOfTheirOwn) {
  for (const double signal : {0.3, 0.5, 0.7, 1.0}) {
    auto world = named("");
    world.name = fmt::format("shared at {}, groups 1, Z, frequency", signal);
    world.shared = signal;
    world.groups = world.frequency = world.co_occurrence = 1;
    const auto r = rates(world, eight_of_four, 200);
    if (signal == 0.5) {
      EXPECT_GE(r.grouped, 0.45);
      EXPECT_LE(r.grouped, 0.75);
    }
    if (signal == 1.0) {
      EXPECT_GE(r.grouped, 0.95);
    }
  }
}

/// Every alpha that p can take: whole-number matrices, heavy tails, and eight concepts, all of whose permutations are looked at.
TEST(AgreementLevels, PIsUniform) {
  auto ties = named("ties: whole multiples of 2");
  ties.rounded_to = 2;
  auto heavy = named("heavy tails: cubes");
  heavy.cubed = 1;
  const auto plain = named("eight concepts");
  for (const auto& [world, shape, draws] :
       {std::tuple{ties, eight_of_four, 600}, {heavy, four_of_six, 600}, {plain, Shape{2, 4}, 120}, {ties, Shape{4, 2}, 120}}) {
    std::array<std::vector<double>, 4> p;
    for (std::uint64_t t = 0; t < static_cast<std::uint64_t>(draws); ++t) {
      const auto test = matrix_agreement(worlds::draw(world, shape, 5000 + t), {199, t});
      EXPECT_EQ(test.free.count.enumerated, shape.concepts() == 8);
      p[0].push_back(test.grouped.p);
      p[1].push_back(test.free.p);
      p[2].push_back(test.grouped.p_robust);
      p[3].push_back(test.free.p_spearman);
    }
    for (std::size_t k = 0; k < p.size(); ++k)
      for (const double level : {0.05, 0.1, 0.25, 0.5, 0.75}) {
        const auto found = static_cast<double>(std::count_if(p[k].begin(), p[k].end(), [&](double v) { return v <= level * (1 + 1e-9); }));
        const double n = draws;
        const double spread = 3.5 * std::sqrt(n * level * (1 - level)) + 1;
        EXPECT_LE(found, n * level + spread) << world.name << ", statistic " << k << " at " << level;
        EXPECT_GE(found, n * level - spread - n / 384) << world.name << ", statistic " << k << " at " << level; // steps of 1 / 384
      }
  }
}

/// The largest of several is judged as such: of eight pairs of independent matrices one has a small p_max in 5 % of families.
TEST(AgreementLevels, OfTheMaximumHold) {
  auto world = named("groups");
  world.groups = 1;
  Index found = 0, robust = 0, single = 0;
  constexpr Index families = 300;
  for (Index t = 0; t < families; ++t) {
    std::vector<MatrixPair> pairs;
    for (Index layer = 0; layer < 8; ++layer) pairs.push_back(worlds::draw(world, four_of_six, static_cast<std::uint64_t>(8 * t + layer)));
    const auto family = agreement_family(pairs, {99, static_cast<std::uint64_t>(t)});
    const auto any = [&](double PermutationTest::*p) {
      return std::any_of(family.begin(), family.end(), [&](const Agreement& a) { return a.grouped.*p <= alpha; }) ? 1 : 0;
    };
    found += any(&PermutationTest::p_max);
    robust += any(&PermutationTest::p_max_robust);
    single += any(&PermutationTest::p);
  }
  const double spread = 3.5 * std::sqrt(families * alpha * (1 - alpha));
  EXPECT_LE(static_cast<double>(found), families * alpha + spread);
  EXPECT_GE(static_cast<double>(found), families * alpha - spread);
  EXPECT_LE(static_cast<double>(robust), families * alpha + spread);
  EXPECT_GE(single, families / 5); // 1 - 0.95^8 = 34 %
}

/// Matrices of documents, each the truth and noise; halves of them make the four matrices.
class DocumentWorld {
public:
  explicit DocumentWorld(std::uint64_t seed) : seed_(seed) {
    for (std::uint64_t m = 0; m < 2; ++m) {
      truth_[m] = worlds::normals(seed, "shared", 0, entries);
      const auto own = worlds::normals(seed, "own", m, entries);
      for (std::size_t i = 0; i < own.size(); ++i) truth_[m][i] += 0.7 * own[i];
      for (std::uint64_t d = 0; d < 2 * documents; ++d) documents_[m].push_back(worlds::normals(seed, "document", m * 1000 + d, entries));
    }
  }
  /// Of the documents drawn in each half; without: all of them.
  MatrixPair of_documents(Index replicate) const {
    MatrixPair pair = of_noise([&](std::size_t m, std::uint64_t half) {
      const Philox random(seed_, "replicate", static_cast<std::uint64_t>(replicate), half);
      std::vector<double> mean(static_cast<std::size_t>(entries), 0.0);
      for (std::uint64_t d = 0; d < documents; ++d) {
        const auto& one = documents_[m][half * documents + (replicate < 0 ? d : random.below(d, documents))];
        for (std::size_t i = 0; i < one.size(); ++i) mean[i] += one[i] / std::sqrt(static_cast<double>(documents));
      }
      return mean;
    });
    return pair;
  }
  /// What r is on average over other documents.
  double expected_r() const {
    double sum = 0;
    for (std::uint64_t t = 0; t < 30; ++t)
      sum += agreement_r(
          of_noise([&](std::size_t m, std::uint64_t half) { return worlds::normals(seed_, "other", 4 * t + 2 * m + half, entries); }));
    return sum / 30;
  }

private:
  static constexpr Index concepts = 14;
  static constexpr Index entries = concepts * concepts;
  static constexpr std::uint64_t documents = 25;
  template <typename Noise>
  MatrixPair of_noise(Noise noise) const {
    MatrixPair pair{concepts, {}, {}, {}, {}};
    for (std::uint64_t half = 0; half < 2; ++half)
      for (std::size_t m = 0; m < 2; ++m) {
        auto e = truth_[m];
        const auto n = noise(m, half);
        for (std::size_t i = 0; i < e.size(); ++i) e[i] += 0.8 * n[i];
        (m == 0 ? pair.a : pair.b).push_back(std::move(e));
      }
    return pair;
  }
  std::uint64_t seed_;
  std::array<std::vector<double>, 2> truth_;
  std::array<std::vector<std::vector<double>>, 2> documents_;
};

/// 90 % intervals of r by resampled documents, and what the replicates' own percentiles would have been.
TEST(AgreementLevels, IntervalsCoverR) {
  Index covered = 0, by_percentile = 0;
  constexpr Index draws = 80;
  for (std::uint64_t t = 0; t < draws; ++t) {
    const DocumentWorld world(t);
    const auto r = agreement_intervals(
                       world.of_documents(-1), 80, [&](Index b) { return world.of_documents(b); }, 0.9)
                       .r;
    const double expected = world.expected_r();
    covered += r.interval.low <= expected && expected <= r.interval.high ? 1 : 0;
    by_percentile += r.percentile.low <= expected && expected <= r.percentile.high ? 1 : 0;
  }
  std::printf("90 %% intervals of r hold it in %lld of %lld worlds, plain percentiles in %lld\n", static_cast<long long>(covered),
              static_cast<long long>(draws), static_cast<long long>(by_percentile));
  EXPECT_GE(covered, draws * 78 / 100);
  EXPECT_LE(by_percentile, draws / 2);
}

/// The contrast of same concepts with others, where groups of A are like the same groups of B.
TEST(AgreementLevels, OfTheContrastHoldWhereGroupsAreAlike) {
  Index free = 0, grouped = 0, found = 0;
  constexpr Index draws = 400;
  for (std::uint64_t t = 0; t < draws; ++t) {
    auto m = worlds::normals(t, "contrast", 0, 32 * 32);
    std::vector<Index> groups;
    for (Index i = 0; i < 32; ++i) {
      groups.push_back(i / 4);
      for (Index j = 0; j < 32; ++j) m[at(i * 32 + j)] += i / 4 == j / 4 ? 1 : 0;
    }
    const auto null = same_concept_contrast(m, 32, groups, {199, t});
    free += null.p_free <= alpha ? 1 : 0;
    grouped += null.p_grouped <= alpha ? 1 : 0;
    for (Index i = 0; i < 32; ++i) m[at(i * 33)] += 1;
    found += same_concept_contrast(m, 32, groups, {199, t}).p_grouped <= alpha ? 1 : 0;
  }
  EXPECT_LE(static_cast<double>(grouped), draws * alpha + 3.5 * std::sqrt(draws * alpha * (1 - alpha)));
  EXPECT_GE(free, draws * 9 / 10); // kin are more alike than strangers: no evidence for the same concept
  EXPECT_GE(found, draws * 95 / 100);
}

} // namespace
} // namespace concord::agreement
