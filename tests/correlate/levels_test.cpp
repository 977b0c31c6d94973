// Levels of what correlate prints: p of best correlations and the false discovery rate. Where nothing is shared, p <= alpha comes about in
// a share alpha of the cases, however r is distributed; and what is shared is found among many features.
#include "concord/core/philox.hpp"
#include "concord/correlate/significance.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

namespace concord::correlate {
namespace {

std::size_t at(Index i) {
  return static_cast<std::size_t>(i);
}

/// A law of best r by chance: of a number u in (0, 1) and the rows on which the feature is active.
struct Law {
  const char* name;
  std::function<double(double u, double count)> r;
};

/// The largest of 1,000 values whose upper tail is tail(x): its quantile at u has tail = -ln(u) / 1000.
const std::vector<Law> laws{
    {"normal", [](double u, double n) { return std::sqrt(-2 * std::log(-std::log(u) / 1000)) / std::sqrt(n) / 4; }},
    {"exponential", [](double u, double n) { return -std::log(-std::log(u) / 1000) / std::sqrt(n) / 8; }},
    {"heavy", [](double u, double n) { return std::pow(-std::log(u) / 1000, -0.2) / std::sqrt(n) / 8; }},
    {"bounded", [](double u, double n) { return (1 - std::pow(-std::log(u) / 1000, 0.3)) / std::sqrt(n) / 2; }},
    {"heavy where rare, light where frequent",
     [](double u, double n) { return std::pow(-std::log(u) / 1000, -0.1 - 0.1 / std::log10(n)) / std::sqrt(n) / 8; }},
    {"ties: few values, whatever the count", [](double u, double) { return std::floor(-std::log(-std::log(u) / 1000)) / 40; }},
    {"ties: rare features share whole tokens",
     [](double u, double n) { return std::floor(-2 * std::log(-std::log(u) / 1000) / 3) / std::sqrt(n * 40); }},
};

double spread(double mean) { // three standard deviations of a count of that mean, from overlapping windows: their values are shared
  return 3 * std::sqrt(mean) + 0.15 * mean + 1;
}

struct Drawn {
  std::vector<Index> counts;
  std::vector<double> null; ///< [shifts, F]
  std::vector<double> r;
};

/// p of the rarest, of the most frequent and of all features: the first and last share a window with others of one side alone.
struct Group {
  const char* name;
  std::vector<double> p;
};

Drawn draw(const Law& law, Index features, Index shifts, std::uint64_t seed) {
  const Philox random(seed, "levels");
  Drawn d;
  const auto r = [&](std::uint64_t i, Index f) { return law.r(random.uniform(i), static_cast<double>(d.counts[at(f)])); };
  for (Index f = 0; f < features; ++f) // from rare to frequent
    d.counts.push_back(10 + static_cast<Index>(std::pow(10.0, 4 * static_cast<double>(f) / static_cast<double>(features))));
  for (Index i = 0; i < shifts * features; ++i) d.null.push_back(r(static_cast<std::uint64_t>(i), i % features));
  for (Index f = 0; f < features; ++f) d.r.push_back(r(static_cast<std::uint64_t>(shifts * features + f), f));
  return d;
}

TEST(Levels, OfBestCorrelationsHoldDownToTheTail) {
  for (const auto& law : laws)
    for (const auto& [features, trials] : {std::pair<Index, std::uint64_t>{1024, 16}, {12000, 2}}) {
      std::vector<Group> groups{{"all", {}}, {"rarest", {}}, {"most frequent", {}}};
      for (std::uint64_t seed = 0; seed < trials; ++seed) {
        const auto d = draw(law, features, 4, seed);
        const BestNull null(d.null, d.counts);
        for (Index f = 0; f < features; ++f) {
          const double p = null.p(f, d.r[at(f)]);
          groups[0].p.push_back(p);
          if (f < features / 32) groups[1].p.push_back(p);
          if (f >= features - features / 32) groups[2].p.push_back(p);
        }
      }
      const bool continuous = std::string(law.name).rfind("ties", 0) != 0;
      for (const auto& [name, p] : groups)
        for (const double alpha : {0.5, 0.05, 0.01, 0.001, 0.0003}) {
          const double expected = alpha * static_cast<double>(p.size());
          const auto found = static_cast<double>(std::count_if(p.begin(), p.end(), [&](double v) { return v <= alpha; }));
          EXPECT_LE(found, expected + spread(expected)) << law.name << ", " << name << " of " << features << ", " << alpha;
          if (continuous && alpha >= 0.05) { // below it ties and bounds make p larger, at most
            EXPECT_GE(found, expected - spread(expected)) << law.name << ", " << name << " of " << features << ", " << alpha;
          }
        }
    }
}

/// A window holds 4,096 values, of which none is as large: by counting alone p is 1 / 4,097, and no q is below 0.3.
TEST(Levels, AHundredExactPairsAreFoundAmongManyFeatures) {
  const Index features = 131072;
  const Index pairs = 100;
  for (const auto& law : {laws[0], laws[2], laws[laws.size() - 2]}) {
    auto d = draw(law, features, 4, 7);
    for (Index i = 0; i < pairs; ++i) d.r[at(i * (features / pairs))] = 1;
    const BestNull null(d.null, d.counts);
    std::vector<double> p;
    for (Index f = 0; f < features; ++f) p.push_back(null.p(f, d.r[at(f)]));
    const auto q = benjamini_hochberg(p);
    Index found = 0;
    Index wrong = 0;
    for (Index f = 0; f < features; ++f) {
      const bool planted = f % (features / pairs) == 0 && f / (features / pairs) < pairs;
      found += planted && q[at(f)] <= 0.05 ? 1 : 0;
      wrong += !planted && q[at(f)] <= 0.05 ? 1 : 0;
    }
    EXPECT_GE(found, 80) << law.name;
    EXPECT_LE(wrong, 15) << law.name; // 5 % of what is found, and its spread
  }
}

/// Of all features without a counterpart none is called, in all but 5 % of the cases.
TEST(Levels, OfTheFalseDiscoveryRateHoldWhereNothingIsShared) {
  for (const auto& law : laws) {
    int called = 0;
    const int trials = 40;
    for (int t = 0; t < trials; ++t) {
      const auto d = draw(law, 1024, 4, 100 + static_cast<std::uint64_t>(t));
      const BestNull null(d.null, d.counts);
      std::vector<double> p;
      for (Index f = 0; f < 1024; ++f) p.push_back(null.p(f, d.r[at(f)]));
      const auto q = benjamini_hochberg(p);
      called += *std::min_element(q.begin(), q.end()) <= 0.05 ? 1 : 0;
    }
    EXPECT_LE(called, 2 + 3 * std::sqrt(2.0)) << law.name;
  }
}

TEST(Levels, EqualCorrelationsCountAsEqualWhateverTheOrderOfTheirSums) {
  const std::vector<double> null(500, 0.25 * (1 - 4e-16));
  const BestNull best(null, std::vector<Index>(500, 20));
  EXPECT_EQ(best.p(3, 0.25), 1);
}

} // namespace
} // namespace concord::correlate
