// Subspaces, angles, covariances and LEACE against scipy, scikit-learn, concept-erasure and worked numbers.
#include "concord/agreement/subspace.hpp"
#include "concord/core/philox.hpp"

#include "agreement/golden.hpp"
#include "agreement/leace.hpp"
#include "support/support.hpp"
#include <cmath>
#include <numbers>
#include <numeric>

namespace concord::agreement {
namespace {

using golden::numbers;
using golden::record;

constexpr double degree = std::numbers::pi / 180;

void expect_near(const std::vector<double>& got, const std::vector<double>& expected, double tolerance) {
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], tolerance) << i;
}

std::vector<double> random_values(std::uint64_t seed, Index n) {
  const Philox random(seed, "values");
  std::vector<double> v(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = random.normal(i);
  return v;
}

TEST(Angles, GiveTheWorkedNumbers) {
  const Basis first{4, 2, {.5, .5, .5, -.5, .5, .5, .5, -.5}, 1};
  const Basis second{4, 2, {.5, .5, .5, -.5, -.5, -.5, -.5, .5}, 1}; // columns 3 and 4 of the Hadamard matrix
  expect_near(principal_angles(first, second), {90 * degree, 90 * degree}, 1e-14);
  const double c30 = std::cos(30 * degree), s30 = std::sin(30 * degree);
  const Basis plane{4, 2, {1, 0, 0, 1, 0, 0, 0, 0}, 1};
  const Basis tilted{4, 2, {c30, 0, 0, s30, s30, 0, 0, c30}, 1};
  expect_near(principal_angles(plane, tilted), {60 * degree, 30 * degree}, 1e-14);
  EXPECT_NEAR(overlap(plane, tilted), 0.5, 1e-15);
  EXPECT_NEAR(overlap_excess(plane, tilted), 0, 1e-15);
  EXPECT_NEAR(overlap_excess(plane, plane), 1, 1e-15);
}

TEST(Angles, EqualScipyAlsoNearZero) {
  const auto& s = record()["subspace"];
  const Basis u{12, 3, numbers(s["u"]), 1};
  const Basis v{12, 4, numbers(s["v"]), 1};
  expect_near(principal_angles(u, v), numbers(s["angles"]), 1e-13);
  expect_near(principal_angles(v, u), numbers(s["angles"]), 1e-13);
  const Basis near{12, 2, numbers(s["near"]), 1};
  const auto expected = numbers(s["near_angles"]);
  EXPECT_LT(expected.back(), 1e-8); // a cosine cannot tell it from 0
  EXPECT_GT(expected.back(), 1e-10);
  expect_near(principal_angles(u, near), expected, 1e-14);
  expect_near(principal_angles(near, u), expected, 1e-14);
}

TEST(Angles, HaveTheirChanceLevel) { // d = 64, k = 5, l = 8: mean 8 / 64, standard deviation of a draw 0.025
  double sum = 0;
  double excess = 0;
  for (std::uint64_t t = 0; t < 400; ++t) {
    const auto u = leading_subspace(random_values(2 * t, 64 * 5), 64, 5, 5);
    const auto v = leading_subspace(random_values(2 * t + 1, 64 * 8), 64, 8, 8);
    sum += overlap(u, v);
    excess += overlap_excess(u, v);
  }
  EXPECT_NEAR(sum / 400, 0.125, 3.5 * 0.025 / 20);
  EXPECT_NEAR(excess / 400, 0, 3.5 * 0.029 / 20);
}

TEST(LeadingSubspace, HoldsWhatItSays) {
  // Rank 2 in 5 dimensions; singular values 4 and 3.
  const std::vector<double> x{4, 0, 0, 3, 0, 0, 0, 0, 0, 0};
  const auto one = leading_subspace(x, 5, 2, 1);
  EXPECT_EQ(one.k, 1);
  EXPECT_NEAR(std::abs(one.u[0]), 1, 1e-15);
  EXPECT_NEAR(one.variance_share, 16.0 / 25, 1e-15);
  EXPECT_EQ(leading_subspace(x, 5, 2, 9).k, 2);
  auto copies = x;
  for (std::size_t i = 0; i < 5; ++i) copies[2 * i + 1] = copies[2 * i];
  EXPECT_EQ(leading_subspace(copies, 5, 2, 2).k, 1);
  EXPECT_EQ(leading_subspace({}, 5, 0, 2).k, 0);
  EXPECT_TRUE(std::isnan(overlap(leading_subspace({}, 5, 0, 2), one)));
  test::expect_error(ExitCode::bad_data, "not finite", [] { leading_subspace({1, std::nan("")}, 2, 1, 1); });
}

TEST(LedoitWolf, EqualsScikitLearn) {
  const auto& s = record()["subspace"];
  const auto rows = numbers(s["few"]);
  const auto shrunk = ledoit_wolf(rows, 20, 8);
  EXPECT_NEAR(shrunk.shrinkage, s["shrinkage"].get<double>(), 1e-14);
  EXPECT_GT(shrunk.shrinkage, 0.05);
  expect_near(shrunk.matrix, numbers(s["ledoit_wolf"]), 1e-13);
  LabelledRows data{8, rows, s["labels"].get<std::vector<unsigned char>>()};
  const auto direction = lda(data); // 20 rows in 8 dimensions: shrunk
  EXPECT_NEAR(direction.shrinkage, s["pooled_shrinkage"].get<double>(), 1e-14);
  expect_near(direction.direction, numbers(s["lda"]), 1e-12);
  EXPECT_EQ(ledoit_wolf({1, 2, 3}, 3, 1).shrinkage, 0);
}

/// Rows and labels of the worked example.
const LabelledRows worked{2, {1, 0, 2, 1, 3, 1, 0, 0, 1, 2, 1, 1}, {1, 1, 1, 0, 0, 0}};

TEST(Lda, GivesTheWorkedNumbers) {
  expect_near(difference_of_means(worked), {4.0 / 3, -1.0 / 3}, 1e-15);
  auto twice = worked; // 12 rows in 2 dimensions: not shrunk, and the same covariance
  twice.rows.insert(twice.rows.end(), worked.rows.begin(), worked.rows.end());
  twice.in_class.insert(twice.in_class.end(), worked.in_class.begin(), worked.in_class.end());
  const auto direction = lda(twice);
  EXPECT_EQ(direction.shrinkage, 0);
  expect_near(direction.direction, {8.142857142857, -6.857142857143}, 1e-11);
  EXPECT_GT(lda(worked).shrinkage, 0);
  test::expect_error(ExitCode::bad_data, "both classes", [] { difference_of_means({1, {1, 2}, {1, 1}}); });
}

TEST(Leace, GivesTheWorkedNumbers) {
  const test::Leace leace({8.0 / 9, 2.0 / 9, 2.0 / 9, 17.0 / 36}, {1.0 / 3, -1.0 / 12}, {4.0 / 3, 5.0 / 6});
  EXPECT_EQ(leace.rank(), 1);
  EXPECT_EQ(leace.cut(), 0);
  expect_near(leace.matrix(), {.17391304, .69565217, .20652174, .82608696}, 1e-8);
  const auto erased = leace.erased(worked.rows);
  expect_near(erased, {.695652, .076087, 1.565217, 1.108696, 1.739130, 1.315217, .521739, -.130435, 2.086957, 1.728261, 1.391304, .902174},
              1e-6);
  for (std::size_t j = 0; j < 2; ++j) { // covariance with z
    double in = 0, all = 0;
    for (std::size_t i = 0; i < 6; ++i) {
      all += erased[2 * i + j];
      in += worked.in_class[i] != 0 ? erased[2 * i + j] : 0;
    }
    EXPECT_NEAR(in / 6 - all / 12, 0, 1e-14);
  }
}

/// Covariance of rows [n, d] with columns [n, k], divided by n - 1.
std::vector<double> covariance(const std::vector<double>& x, Index d, const std::vector<double>& y, Index k) {
  const Index n = static_cast<Index>(x.size()) / d;
  std::vector<double> out;
  for (Index i = 0; i < d; ++i)
    for (Index j = 0; j < k; ++j) {
      double sum = 0, sx = 0, sy = 0;
      for (Index r = 0; r < n; ++r) {
        const double a = x[static_cast<std::size_t>(r * d + i)];
        const double b = y[static_cast<std::size_t>(r * k + j)];
        sum += a * b;
        sx += a;
        sy += b;
      }
      out.push_back((sum - sx * sy / static_cast<double>(n)) / static_cast<double>(n - 1));
    }
  return out;
}

std::vector<double> means(const std::vector<double>& x, Index d) {
  std::vector<double> out(static_cast<std::size_t>(d), 0.0);
  for (std::size_t i = 0; i < x.size(); ++i) out[i % out.size()] += x[i] * static_cast<double>(d) / static_cast<double>(x.size());
  return out;
}

TEST(Leace, EqualsItsOwnPackage) {
  const auto& s = record()["subspace"];
  const auto x = numbers(s["x"]);
  const auto z = numbers(s["z"]);
  const test::Leace leace(covariance(x, 6, x, 6), covariance(x, 6, z, 2), means(x, 6));
  EXPECT_EQ(leace.rank(), 2);
  expect_near(leace.matrix(), numbers(s["leace"]), 1e-10);
  const auto erased = leace.erased(x);
  expect_near({erased.begin(), erased.begin() + 30}, numbers(s["erased"]), 1e-10);
  for (const double v : covariance(erased, 6, z, 2)) EXPECT_NEAR(v, 0, 1e-12);
}

TEST(Leace, OfNothingChangesNothing) {
  const test::Leace leace({2, 0, 0, 1}, {0, 0}, {1, 1});
  EXPECT_EQ(leace.rank(), 0);
  expect_near(leace.erased({3, 4}), {3, 4}, 0);
}

TEST(Whitening, MakesTheUnitMatrixAndCutsNoise) {
  const auto x = random_values(5, 50 * 4);
  auto rows = x;
  for (std::size_t i = 0; i < rows.size(); i += 4) rows[i + 3] = rows[i] + rows[i + 1]; // rank 3
  const auto w = whitening(covariance(rows, 4, rows, 4), 4);
  EXPECT_EQ(w.cut, 1);
  std::vector<double> white(rows.size(), 0.0);
  for (std::size_t i = 0; i < rows.size(); i += 4)
    for (std::size_t j = 0; j < 4; ++j)
      for (std::size_t k = 0; k < 4; ++k) white[i + j] += w.whiten[4 * j + k] * rows[i + k];
  const auto unit = covariance(white, 4, white, 4);
  double trace = 0;
  double squares = 0;
  for (std::size_t i = 0; i < 16; ++i) {
    squares += unit[i] * unit[i];
    trace += i % 5 == 0 ? unit[i] : 0;
  }
  EXPECT_NEAR(trace, 3, 1e-10);
  EXPECT_NEAR(squares, 3, 1e-10); // a projector: the unit matrix on what is kept
}

/// Directions that are orthogonal under the whitened product are orthogonal after whitening.
TEST(Whitening, MovesABasis) {
  const auto w = whitening({4, 0, 0, 1}, 2);
  const Basis u{2, 1, {std::sqrt(0.5), std::sqrt(0.5)}, 1};
  const auto moved = whitened(u, w);
  EXPECT_NEAR(std::abs(moved.u[0]), std::sqrt(0.2), 1e-14);
  EXPECT_NEAR(std::abs(moved.u[1]), std::sqrt(0.8), 1e-14);
}

} // namespace
} // namespace concord::agreement
