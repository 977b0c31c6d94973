// Invariants of SVCCA, RSA and their nulls; golden values are compared in tests/cli/test_compare_golden.py.
#include "concord/core/philox.hpp"
#include "concord/similarity/rsa.hpp"
#include "concord/similarity/svcca.hpp"

#include "support/support.hpp"
#include <cmath>

namespace concord::similarity {
namespace {

using test::world;

Matrix random_matrix(std::uint64_t seed, Index rows, Index cols) {
  const Philox random(seed, "matrix");
  Matrix m{rows, cols, {}};
  for (Index i = 0; i < rows * cols; ++i) m.values.push_back(random.normal(static_cast<std::uint64_t>(i)));
  return m;
}

Matrix times(const Matrix& x, const Matrix& w) {
  Matrix out{x.rows, w.cols, std::vector<double>(static_cast<std::size_t>(x.rows * w.cols), 0.0)};
  for (Index i = 0; i < x.rows; ++i)
    for (Index k = 0; k < x.cols; ++k)
      for (Index j = 0; j < w.cols; ++j) out.values[static_cast<std::size_t>(i * w.cols + j)] += x.at(i, k) * w.at(k, j);
  return out;
}

/// A random rotation by Gram-Schmidt.
Matrix rotation(std::uint64_t seed, Index n) {
  Matrix q = random_matrix(seed, n, n);
  for (Index i = 0; i < n; ++i) {
    double* row = q.values.data() + i * n;
    for (int pass = 0; pass < 2; ++pass)
      for (Index p = 0; p < i; ++p) {
        double dot = 0;
        for (Index c = 0; c < n; ++c) dot += row[c] * q.at(p, c);
        for (Index c = 0; c < n; ++c) row[c] -= dot * q.at(p, c);
      }
    double norm = 0;
    for (Index c = 0; c < n; ++c) norm += row[c] * row[c];
    for (Index c = 0; c < n; ++c) row[c] /= std::sqrt(norm);
  }
  return q;
}

Matrix affine(Matrix x, double scale, double shift) {
  for (double& v : x.values) v = scale * v + shift;
  return x;
}

Matrix permuted_rows(const Matrix& x, const std::vector<Index>& order) {
  Matrix out{x.rows, x.cols, {}};
  for (const Index r : order) out.values.insert(out.values.end(), x.values.begin() + r * x.cols, x.values.begin() + (r + 1) * x.cols);
  return out;
}

double svcca_score(const Matrix& x, const Matrix& y, const SvccaOptions& o = {}) {
  return svcca(world(), x, y, o, 0, 0).measure.score;
}

TEST(Svcca, IsOneUnderRotationScaleAndShift) {
  const Matrix x = random_matrix(1, 120, 12);
  EXPECT_NEAR(svcca_score(x, x), 1, 1e-12);
  EXPECT_NEAR(svcca_score(x, affine(times(x, rotation(2, 12)), 3.5, 7)), 1, 1e-10);
}

TEST(Svcca, AllComponentsAreInvariantToInvertibleMaps) {
  const Matrix x = random_matrix(1, 100, 8);
  EXPECT_NEAR(svcca_score(x, times(x, random_matrix(9, 8, 8)), {1.0, 8}), 1, 1e-9);
}

TEST(Svcca, FewComponentsAreNotInvariantToAnisotropicMaps) {
  Matrix x = random_matrix(1, 200, 8);
  Matrix w{8, 8, std::vector<double>(64, 0.0)};
  for (Index i = 0; i < 8; ++i) w.values[static_cast<std::size_t>(9 * i)] = i < 4 ? 1 : 100;
  EXPECT_LT(svcca_score(x, times(x, w), {0.99, 3}), 0.999);
}

TEST(Svcca, DoesNotDependOnTheScaleOfTheData) { // published code compares a share with an unnormalised total
  const Matrix x = random_matrix(1, 150, 10);
  const Matrix y = random_matrix(2, 150, 14);
  const auto plain = svcca(world(), x, y, {}, 0, 0);
  for (const double scale : {1e-3, 1e3}) {
    const auto scaled = svcca(world(), affine(x, scale, 0), y, {}, 0, 0);
    EXPECT_EQ(scaled.x.k, plain.x.k);
    EXPECT_NEAR(scaled.measure.score, plain.measure.score, 1e-12);
  }
}

TEST(Svcca, IsSymmetricAndBlindToTheOrderOfRowsOnBothSides) {
  const Matrix x = random_matrix(1, 90, 10);
  const Matrix y = random_matrix(2, 90, 14);
  const auto order = shuffled(90, Philox(1, "order"));
  EXPECT_NEAR(svcca_score(x, y), svcca_score(y, x), 1e-12);
  EXPECT_NEAR(svcca_score(permuted_rows(x, order), permuted_rows(y, order)), svcca_score(x, y), 1e-12);
}

TEST(Svcca, DuplicatedZeroAndConstantColumnsChangeNothing) {
  const Matrix x = random_matrix(1, 90, 5);
  const Matrix y = random_matrix(2, 90, 6);
  Matrix wide{90, 8, {}};
  for (Index i = 0; i < 90; ++i) {
    for (Index c = 0; c < 5; ++c) wide.values.push_back(x.at(i, c));
    wide.values.insert(wide.values.end(), {x.at(i, 0), 0.0, 4.0});
  }
  const auto deficient = svcca(world(), wide, y, {1.0, 100}, 0, 0);
  EXPECT_EQ(deficient.x.rank, 5);
  EXPECT_EQ(deficient.x.k, 5);
  EXPECT_NEAR(deficient.measure.score, svcca_score(x, y, {1.0, 100}), 1e-11);
}

TEST(Svcca, CutsAtAKnownSpectrum) {
  const std::vector<double> s{3, 2, 1, 0.5};
  EXPECT_EQ(cut(s, 4, {9.0 / 14.25 - 1e-9, 0}).k, 1);
  EXPECT_EQ(cut(s, 4, {9.0 / 14.25 + 1e-9, 0}).k, 2);
  EXPECT_EQ(cut(s, 4, {1.0, 0}).k, 4);
  EXPECT_EQ(cut(s, 3, {1.0, 0}).k, 3);
  EXPECT_EQ(cut(s, 4, {0.99, 2}).k, 2);
  EXPECT_NEAR(cut(s, 4, {0.95, 0}).variance_at_k, 14.0 / 14.25, 1e-15);
  EXPECT_NEAR(cut(s, 4, {0.95, 0}).variance_before_k, 13.0 / 14.25, 1e-15);
}

TEST(Svcca, SaysWhyItIsUndefined) {
  const auto few = svcca(world(), random_matrix(1, 10, 30), random_matrix(2, 10, 30), {}, 9, 0);
  EXPECT_TRUE(std::isnan(few.measure.score));
  EXPECT_NE(few.measure.reason.find("every score would be 1"), std::string::npos) << few.measure.reason;
  const auto zero = svcca(world(), Matrix{20, 3, std::vector<double>(60, 0.0)}, random_matrix(2, 20, 3), {}, 9, 0);
  EXPECT_EQ(zero.measure.reason, "a side has no variance");
}

TEST(Svcca, ForcedOnesAreCounted) {
  const auto s = svcca(world(), random_matrix(1, 21, 12), random_matrix(2, 21, 14), {1.0, 0}, 0, 0);
  EXPECT_EQ(s.forced_ones, 12 + 14 - 20);
}

TEST(SvccaNull, EqualsARecomputationAndTheMomentFormula) {
  const Matrix x = random_matrix(1, 80, 6);
  const Matrix y = random_matrix(2, 80, 9);
  const auto s = svcca(world(), x, y, {1.0, 100}, 50, 5);
  for (const Index b : {0, 17, 49})
    EXPECT_NEAR(s.measure.null[static_cast<std::size_t>(b)],
                svcca_score(x, permuted_rows(y, shuffled(80, Philox(5, "null", static_cast<std::uint64_t>(b)))), {1.0, 100}), 1e-12);
  EXPECT_GT(s.measure.p, 0.0);
}

TEST(SvccaNull, MeanFollowsWachterAtOneThousandRows) { // E[sum rho^2] = k1 k2 / (M - 1); mean rho of (1000, 100, 150): 0.35576
  const auto s = svcca(world(), random_matrix(1, 1000, 100), random_matrix(2, 1000, 150), {1.0, 1000}, 6, 3);
  EXPECT_NEAR(s.measure.null_mean, 0.35576, 2e-3);
  EXPECT_NEAR(s.measure.score, 0.35576, 5e-3); // independent data: the score is at chance itself
}

TEST(Rsa, IsOneForItselfAndForRowsScaledAndShifted) {
  Matrix x = random_matrix(1, 40, 9);
  EXPECT_NEAR(rsa(world(), x, x, {}, 0, 0).measure.score, 1, 1e-12);
  Matrix y = x;
  for (Index i = 0; i < 40; ++i)
    for (Index c = 0; c < 9; ++c)
      y.values[static_cast<std::size_t>(i * 9 + c)] = (1.0 + static_cast<double>(i)) * x.at(i, c) + 3.0 * static_cast<double>(i);
  EXPECT_NEAR(rsa(world(), x, y, {}, 0, 0).measure.score, 1, 1e-9);
}

TEST(Rsa, DuplicateRowsTieExactly) {
  Matrix x = random_matrix(1, 12, 700);
  for (Index c = 0; c < 700; ++c) x.values[static_cast<std::size_t>(5 * 700 + c)] = x.at(2, c); // row 5 = row 2
  const Matrix y = random_matrix(2, 12, 700);
  std::vector<Index> swap(12);
  for (Index i = 0; i < 12; ++i) swap[static_cast<std::size_t>(i)] = i;
  std::swap(swap[2], swap[5]); // exchanging equal rows of x alone changes nothing
  EXPECT_EQ(rsa(world(), x, y, {}, 0, 0).measure.score, rsa(world(), permuted_rows(x, swap), y, {}, 0, 0).measure.score);
}

TEST(Rsa, NullEqualsARecomputation) {
  const Matrix x = random_matrix(1, 30, 6);
  const Matrix y = random_matrix(2, 30, 9);
  const auto r = rsa(world(), x, y, {}, 20, 5);
  for (const Index b : {0, 7, 19})
    EXPECT_NEAR(r.measure.null[static_cast<std::size_t>(b)],
                rsa(world(), x, permuted_rows(y, shuffled(30, Philox(5, "null", static_cast<std::uint64_t>(b)))), {}, 0, 0).measure.score,
                1e-12);
}

TEST(Rsa, IsUndefinedForConstantRdmsAndSamplesLargeSets) {
  const Matrix zeros{10, 4, std::vector<double>(40, 1.0)};
  EXPECT_EQ(rsa(world(), zeros, random_matrix(1, 10, 4), {}, 5, 0).measure.reason, "an RDM is constant");
  EXPECT_EQ(rsa(world(), random_matrix(1, 50, 4), random_matrix(2, 50, 4), {20}, 5, 0).features, 20);
}

TEST(AverageRanks, SharesTies) {
  EXPECT_EQ(average_ranks({3, 1, 3, 2}), (std::vector<double>{3.5, 1, 3.5, 2}));
}

TEST(Null, IsTheSameAtAnyRanksAndUniformUnderTheNull) {
  const auto alone = world().split(world().rank());
  const Matrix x = random_matrix(1, 60, 5);
  const Matrix y = random_matrix(2, 60, 6);
  EXPECT_EQ(rsa(world(), x, y, {}, 30, 4).measure.null, rsa(alone, x, y, {}, 30, 4).measure.null);
  int small = 0;
  const int trials = 60;
  for (int t = 0; t < trials; ++t) {
    const auto r = rsa(world(), random_matrix(static_cast<std::uint64_t>(100 + t), 15, 4),
                       random_matrix(static_cast<std::uint64_t>(900 + t), 15, 4), {}, 19, 1);
    small += r.measure.p <= 0.25 ? 1 : 0;
  }
  EXPECT_NEAR(small, trials / 4, 12); // 3.5 standard deviations
}

} // namespace
} // namespace concord::similarity
