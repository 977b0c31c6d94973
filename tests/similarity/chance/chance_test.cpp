// Closed forms of chance against known values and against all permutations of small cases; false discovery rates and the max-statistic.
#include "concord/similarity/chance/chance.hpp"
#include "concord/similarity/measures/measure.hpp"

#include "similarity/oracle.hpp"
#include "support/support.hpp"
#include <cmath>

namespace concord::similarity {
namespace {

TEST(Wachter, GivesTheTabledMeans) { // Monte Carlo and table of the reference: M, k1, k2
  EXPECT_NEAR(wachter_mean(999, 100, 150), 0.35576, 1e-4);
  EXPECT_NEAR(wachter_mean(999, 220, 220), 0.40780, 1e-4);
  EXPECT_NEAR(wachter_mean(999, 500, 600), 0.72684, 1e-4);
  EXPECT_NEAR(wachter_mean(399, 40, 300), 0.86332, 1e-4);
  EXPECT_NEAR(wachter_mean(4095, 2304, 2304), 0.682, 6e-4);
  EXPECT_NEAR(wachter_mean(131071, 3584, 3584), 0.141, 6e-4);
  EXPECT_EQ(wachter_mean(20, 20, 5), 1);
  EXPECT_EQ(wachter_mean(999, 100, 150), wachter_mean(999, 150, 100));
}

/// Every order of m items.
std::vector<std::vector<Index>> all_orders(Index m) {
  std::vector<Index> order(static_cast<std::size_t>(m));
  std::iota(order.begin(), order.end(), Index{0});
  std::vector<std::vector<Index>> all;
  do all.push_back(order);
  while (std::next_permutation(order.begin(), order.end()));
  return all;
}

Moments moments_of(const std::vector<double>& values) {
  const auto n = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  double squares = 0;
  double cubes = 0;
  for (const double v : values) {
    squares += (v - mean) * (v - mean);
    cubes += std::pow(v - mean, 3);
  }
  const double sd = std::sqrt(squares / n);
  return {mean, sd, cubes / n / (sd * sd * sd)};
}

TEST(Mantel, EqualsAllPermutations) {
  const Index m = 6;
  const auto matrix = [](std::uint64_t seed) {
    Matrix a = oracle::random_matrix(seed, m, m);
    for (Index i = 0; i < m; ++i)
      for (Index j = 0; j <= i; ++j) a.values[static_cast<std::size_t>(i * m + j)] = i == j ? 0 : a.at(j, i);
    return a;
  };
  const Matrix a = matrix(1);
  const Matrix b = matrix(2);
  std::vector<double> sums;
  for (const auto& order : all_orders(m)) {
    double sum = 0;
    for (Index i = 0; i < m; ++i)
      for (Index j = 0; j < m; ++j) sum += a.at(i, j) * b.at(order[static_cast<std::size_t>(i)], order[static_cast<std::size_t>(j)]);
    sums.push_back(sum);
  }
  const auto pair_sums = [](const Matrix& x) {
    PairSums s;
    for (Index i = 0; i < m; ++i) {
      double row = 0;
      for (Index j = 0; j < m; ++j) {
        row += x.at(i, j);
        s.squares += x.at(i, j) * x.at(i, j);
      }
      s.total += row;
      s.row_squares += row * row;
    }
    return s;
  };
  const auto expected = moments_of(sums);
  const auto got = mantel_moments(m, pair_sums(a), pair_sums(b));
  EXPECT_NEAR(got.mean, expected.mean, 1e-12);
  EXPECT_NEAR(got.sd, expected.sd, 1e-12);
  EXPECT_NEAR(mantel_skewness(m, a.values, b.values), expected.skew, 1e-10);
  EXPECT_TRUE(std::isnan(mantel_skewness(5, std::vector<double>(25, 0.0), std::vector<double>(25, 0.0))));
}

TEST(Rv, MomentsEqualAllPermutations) {
  const Index m = 7;
  const auto x = oracle::centred_columns(oracle::random_matrix(1, m, 2));
  const auto y = oracle::centred_columns(oracle::random_matrix(2, m, 3));
  const auto gram = [](const oracle::Rows& columns) {
    std::vector<double> w(49, 0.0);
    for (const auto& column : columns)
      for (std::size_t i = 0; i < 7; ++i)
        for (std::size_t j = 0; j < 7; ++j) w[i * 7 + j] += static_cast<double>(column[i] * column[j]);
    return w;
  };
  const auto wx = gram(x);
  const auto wy = gram(y);
  const auto facts = [](const std::vector<double>& w) {
    GramMoments g;
    g.cubes = g.diagonal_cubes = g.entry_cubes = g.diagonal_squares = g.diagonal_form = 0;
    for (std::size_t i = 0; i < 7; ++i) {
      g.trace += w[i * 8];
      g.diagonal += w[i * 8] * w[i * 8];
      g.diagonal_cubes += std::pow(w[i * 8], 3);
      for (std::size_t j = 0; j < 7; ++j) {
        const double ij = w[i * 7 + j];
        g.squares += ij * ij;
        g.entry_cubes += ij * ij * ij;
        g.diagonal_squares += w[i * 8] * ij * ij;
        g.diagonal_form += w[i * 8] * ij * w[j * 8];
        for (std::size_t k = 0; k < 7; ++k) g.cubes += ij * w[j * 7 + k] * w[k * 7 + i];
      }
    }
    return g;
  };
  std::vector<double> rv;
  for (const auto& order : all_orders(m)) {
    double sum = 0;
    for (std::size_t i = 0; i < 7; ++i)
      for (std::size_t j = 0; j < 7; ++j) sum += wx[i * 7 + j] * wy[static_cast<std::size_t>(order[i] * 7 + order[j])];
    rv.push_back(sum / std::sqrt(facts(wx).squares * facts(wy).squares));
  }
  const auto expected = moments_of(rv);
  const auto got = rv_moments(m, facts(wx), facts(wy));
  EXPECT_NEAR(got.mean, expected.mean, 1e-12);
  EXPECT_NEAR(got.sd, expected.sd, 1e-12);
  EXPECT_NEAR(got.skew, expected.skew, 1e-9);
  GramMoments unknown = facts(wx);
  unknown.cubes = std::nan("");
  EXPECT_TRUE(std::isnan(rv_moments(m, unknown, facts(wy)).skew));
}

TEST(RandomSubspaces, OfOneDimensionFollowTheBetaLaw) { // cos^2 of two random directions: Beta(1/2, (d - 1) / 2)
  const auto m = random_subspaces(10, 1, 1);
  EXPECT_NEAR(m.mean, 0.1, 1e-15);
  EXPECT_NEAR(m.sd, std::sqrt(2.0 * 9 / (100.0 * 12)), 1e-15);
  EXPECT_NEAR(m.skew, 2 * (4.5 - 0.5) * std::sqrt(6.0) / (7 * std::sqrt(0.5 * 4.5)), 1e-12);
  // k directions and one: Beta(k / 2, (d - k) / 2) whichever is the smaller.
  EXPECT_NEAR(random_subspaces(10, 3, 1).skew, 2 * (3.5 - 1.5) * std::sqrt(6.0) / (7 * std::sqrt(1.5 * 3.5)), 1e-12);
  EXPECT_NEAR(random_subspaces(10, 3, 4).skew, -random_subspaces(10, 7, 4).skew, 1e-9); // a span and the rest of the space
  EXPECT_NEAR(random_subspaces(3000, 700, 900).skew, random_subspaces(3000, 900, 700).skew, 1e-9);
}

TEST(Measure, DerivesScoresFromItsNull) {
  Measure m;
  m.score = 0.6;
  for (int i = 0; i < 19; ++i) m.shuffled.values.push_back(0.01 * i); // 0 to 0.18
  finish(m, 0.1);
  EXPECT_NEAR(m.p, 1.0 / 20, 1e-15);
  EXPECT_NEAR(m.shuffled.mean, 0.09, 1e-15);
  EXPECT_NEAR(m.adjusted, (0.6 - 0.09) / 0.91, 1e-12);
  EXPECT_NEAR(m.calibrated, (0.6 - 0.17) / (1 - 0.17), 1e-12); // the 18th of 20 is 0.17
  m.score = 0.1;
  finish(m, 0.1);
  EXPECT_EQ(m.calibrated, 0);
  Measure formula;
  formula.score = 0.3;
  formula.formula_mean = 0.1;
  formula.formula_sd = 0.1;
  formula.formula_p = upper_tail({0.1, 0.1, 0}, 0.3);
  finish(formula, 0.05);
  EXPECT_NEAR(formula.z, 2, 1e-12);
  EXPECT_NEAR(formula.p, 0.02275, 1e-5);
}

/// Sums in other orders move equal scores by their rounding: they count as equal.
TEST(Measure, CountsANullValueThatEqualsTheScoreButForRounding) {
  Measure m;
  m.score = 0.3;
  m.shuffled.values.assign(99, 0.3 * (1 - 4e-16));
  finish(m, 0.05);
  EXPECT_EQ(m.p, 1);
  EXPECT_EQ(m.calibrated, 0);
  EXPECT_EQ(m.shuffled.sd, 0);
  EXPECT_TRUE(std::isnan(m.z)); // no spread to measure by
}

TEST(UpperTail, IsThatOfAShiftedGammaLaw) {
  EXPECT_NEAR(upper_tail({1, std::sqrt(2.0), std::sqrt(8.0)}, 6.634897), 0.01, 1e-6); // chi square with one degree of freedom
  EXPECT_NEAR(upper_tail({0, 1, 0}, 2), 0.02275013, 1e-8);
  EXPECT_NEAR(upper_tail({0, 1, 1e-3}, 2), 0.02275, 2e-4);
  EXPECT_NEAR(upper_tail({1, 1, 2}, 3), std::exp(-3.0), 1e-12);        // exponential
  EXPECT_NEAR(upper_tail({-1, 1, -2}, -3), 1 - std::exp(-3.0), 1e-12); // and its mirror image
  EXPECT_EQ(upper_tail({-1, 1, -2}, 0.5), 0);
  EXPECT_TRUE(std::isnan(upper_tail({0, 1}, 2)));
}

TEST(FalseDiscovery, FollowsBenjaminiAndHochberg) {
  const double nan = std::nan("");
  const auto q = false_discovery_rates({0.01, 0.04, nan, 0.03, 0.5});
  EXPECT_NEAR(q[0], 0.04, 1e-15);
  EXPECT_NEAR(q[1], 0.04 * 4 / 3, 1e-15);
  EXPECT_TRUE(std::isnan(q[2]));
  EXPECT_NEAR(q[3], 0.04 * 4 / 3, 1e-15); // 0.06 would be larger than that of the next
  EXPECT_NEAR(q[4], 0.5, 1e-15);
}

TEST(MaxStatistic, HoldsItsLevelOverAllScores) {
  int errors = 0;
  const int trials = 200;
  for (int t = 0; t < trials; ++t) {
    std::vector<std::vector<double>> nulls;
    std::vector<double> scores;
    for (std::uint64_t i = 0; i < 8; ++i) {
      const Philox random(static_cast<std::uint64_t>(t), "max", i);
      nulls.emplace_back();
      for (std::uint64_t b = 0; b < 99; ++b) nulls.back().push_back(random.normal(b));
      scores.push_back(random.normal(1000));
    }
    const auto p = max_statistic_p(scores, nulls);
    errors += *std::min_element(p.begin(), p.end()) <= 0.05 ? 1 : 0;
  }
  EXPECT_NEAR(errors, 10, 11); // 5 % of the trials, 3.5 standard deviations
  EXPECT_GT(errors, 0);
}

} // namespace
} // namespace concord::similarity
