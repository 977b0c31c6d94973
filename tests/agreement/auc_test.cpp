// AUC and its p against scikit-learn, scipy and worked numbers, and against all labellings.
#include "concord/agreement/ranks.hpp"
#include "concord/core/philox.hpp"

#include "agreement/auc.hpp"
#include "agreement/golden.hpp"
#include "support/support.hpp"
#include <cmath>

namespace concord::agreement {
namespace {

using golden::numbers;
using golden::record;

/// As a caller has it: values that are not zero, and how many are.
struct Sparse {
  std::vector<double> values;
  Index zeros = 0;
  AucSide side() const { return {values, zeros}; }
};
Sparse sparse(const std::vector<double>& dense) {
  Sparse s;
  for (const double v : dense)
    if (v == 0)
      ++s.zeros;
    else
      s.values.push_back(v);
  return s;
}

constexpr AucOptions normal_only{0, 0};

TEST(Auc, EqualsScikitLearnAndScipy) {
  int exact = 0;
  for (const auto& c : record()["auc"]) {
    const auto one = sparse(numbers(c["positives"]));
    const auto other = sparse(numbers(c["negatives"]));
    const auto by_normal = auc(one.side(), other.side(), normal_only);
    EXPECT_EQ(by_normal.twice_u, c["twice_u"].get<std::int64_t>());
    EXPECT_NEAR(by_normal.auc, c["auc"].get<double>(), 1e-12);
    EXPECT_NEAR(by_normal.p / c["p_normal"].get<double>(), 1, 1e-12);
    EXPECT_FALSE(by_normal.exact);
    if (!c.contains("p_exact")) continue;
    ++exact;
    const auto got = auc(one.side(), other.side());
    EXPECT_TRUE(got.exact);
    EXPECT_NEAR(got.p / c["p_exact"].get<double>(), 1, 1e-12);
  }
  EXPECT_GE(exact, 7);
}

TEST(Auc, GivesTheWorkedNumbers) {
  const auto small = auc({std::vector<double>{.35, .8}}, {std::vector<double>{.1, .4}});
  EXPECT_EQ(small.auc, 0.75);
  const std::vector<double> x{19, 22, 16, 29, 24}, y{20, 11, 17, 12};
  const auto scipys = auc({x}, {y});
  EXPECT_EQ(scipys.twice_u, 34);
  EXPECT_NEAR(2 * scipys.p, 0.1111111111, 1e-10); // two-sided
  EXPECT_NEAR(2 * auc({x}, {y}, normal_only).p, 0.1113468865, 1e-10);
  const auto tied = auc({std::vector<double>{1, 2, 2, 5}, 3}, {std::vector<double>{1, 2, 3}, 5}, normal_only);
  EXPECT_EQ(tied.twice_u, 68);
  EXPECT_NEAR(tied.auc, 0.6071428571, 1e-10);
  EXPECT_NEAR(2 * tied.p, 0.4876587613, 1e-10);
  EXPECT_NEAR(2 * normal_upper_tail((34 - 28) / (56 * tied.sd)), 0.4489709655, 1e-10); // without continuity correction
}

/// Zeros may be given as values or counted; the order does not matter; exchanging the classes mirrors U.
TEST(Auc, DoesNotDependOnHowItIsGiven) {
  const std::vector<double> positives{0, 3, -1, 0, 2}, negatives{1, 0, -2, 2};
  const auto given = auc({positives}, {negatives});
  const auto one = sparse(positives);
  const auto other = sparse(negatives);
  const auto counted = auc(one.side(), other.side());
  EXPECT_EQ(given.twice_u, counted.twice_u);
  EXPECT_EQ(given.p, counted.p);
  EXPECT_EQ(given.positives, 5);
  EXPECT_EQ(given.negatives, 4);
  EXPECT_EQ(auc(other.side(), one.side()).twice_u, 2 * 20 - given.twice_u);
}

/// By all labellings of small tied samples, with fewer positives and with fewer negatives.
TEST(Auc, ExactPEqualsAllLabellings) {
  const Philox random(3, "auc");
  for (std::uint64_t t = 0; t < 60; ++t) {
    const unsigned n = 9;
    const unsigned n1 = 1 + static_cast<unsigned>(random.below(100 * t, n - 1));
    std::vector<double> all;
    for (std::uint64_t i = 0; i < n; ++i) all.push_back(static_cast<double>(random.below(100 * t + 1 + i, 5)) - 1);
    const auto twice_u = [&](unsigned labels) {
      std::int64_t u = 0;
      for (unsigned i = 0; i < n; ++i)
        for (unsigned j = 0; j < n; ++j)
          if ((labels >> i & 1U) == 1 && (labels >> j & 1U) == 0) u += all[i] > all[j] ? 2 : all[i] == all[j] ? 1 : 0;
      return u;
    };
    const unsigned observed = (1U << n1) - 1;
    double reached = 0;
    double labellings = 0;
    for (unsigned labels = 0; labels < 1U << n; ++labels) {
      if (static_cast<unsigned>(__builtin_popcount(labels)) != n1) continue;
      ++labellings;
      reached += twice_u(labels) >= twice_u(observed) ? 1 : 0;
    }
    const auto positives = sparse({all.begin(), all.begin() + n1});
    const auto negatives = sparse({all.begin() + n1, all.end()});
    const auto got = auc(positives.side(), negatives.side());
    EXPECT_EQ(got.twice_u, twice_u(observed));
    EXPECT_NEAR(got.p, reached / labellings, 1e-14);
  }
}

TEST(Auc, FallsBackToTheNormalLawBeyondItsWork) {
  std::vector<double> positives, negatives;
  const Philox random(4, "auc");
  for (std::uint64_t i = 0; i < 19; ++i) positives.push_back(random.uniform(i));
  for (std::uint64_t i = 0; i < 3000; ++i) negatives.push_back(random.uniform(100 + i));
  EXPECT_FALSE(auc({positives}, {negatives}).exact);
  EXPECT_TRUE(auc({std::span(positives).first(5)}, {std::span(negatives).first(300)}).exact);
  // Where it falls back the two agree.
  const auto law = auc({positives}, {std::span(negatives).first(300)}, normal_only);
  const auto exact = auc({positives}, {std::span(negatives).first(300)}, {20, 1e9});
  EXPECT_TRUE(exact.exact);
  EXPECT_NEAR(law.p, exact.p, 2e-3);
}

TEST(Auc, OfEqualValuesAndOfNothing) {
  const auto equal = auc({{}, 30}, {{}, 40});
  EXPECT_EQ(equal.auc, 0.5);
  EXPECT_EQ(equal.sd, 0);
  EXPECT_EQ(equal.p, 1);
  EXPECT_NEAR(auc({{}, 3}, {{}, 4}).p, 1, 1e-15);
  EXPECT_TRUE(std::isnan(auc({{}, 0}, {{}, 4}).auc));
  EXPECT_TRUE(std::isnan(auc({{}, 4}, {{}, 0}).p));
  // Counts of a corpus: 2 U passes 32 bits.
  const std::vector<double> one{1};
  EXPECT_EQ(auc({one, 2'000'000}, {{}, 3'000'000'000}).twice_u, 2'000'000 * std::int64_t{3'000'000'000} + 2 * std::int64_t{3'000'000'000});
  test::expect_error(ExitCode::bad_data, "not a number", [] { auc({std::vector<double>{std::nan("")}, 1}, {{}, 1}); });
  test::expect_error(ExitCode::bad_data, "64 bits", [] { auc({{}, Index{1} << 40}, {{}, Index{1} << 40}); });
}

/// p <= alpha comes about in a share alpha at most, and as often as ties allow, whichever way p is found.
TEST(Auc, HoldsItsLevel) {
  for (const auto& [n1, n0, least] : {std::tuple{8, 40, 0.02}, {40, 200, 0.03}}) {
    int found = 0;
    for (std::uint64_t t = 0; t < 2000; ++t) {
      const Philox random(t, "level");
      const auto draw = [&](int n, std::uint64_t from) {
        std::vector<double> v;
        for (int i = 0; i < n; ++i) {
          const double u = random.uniform(from + static_cast<std::uint64_t>(i));
          v.push_back(u < 0.5 ? 0 : std::round(20 * u));
        }
        return sparse(v);
      };
      found += auc(draw(n1, 0).side(), draw(n0, 1000).side()).p <= 0.05 ? 1 : 0;
    }
    EXPECT_LE(found, 2000 * 0.05 + 3.5 * std::sqrt(2000 * 0.05 * 0.95)) << n1;
    EXPECT_GE(found, 2000 * least) << n1;
  }
}

} // namespace
} // namespace concord::agreement
