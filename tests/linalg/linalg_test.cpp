#include "concord/comm/collectives.hpp"
#include "concord/core/philox.hpp"
#include "concord/linalg/decompose.hpp"
#include "concord/linalg/dense.hpp"

#include "support/support.hpp"
#include <cmath>
#include <limits>

namespace concord::linalg {
namespace {

using test::expect_error;
using test::world;

double element(Index i, Index j) {
  return Philox(11, "linalg", static_cast<std::uint64_t>(i)).normal(static_cast<std::uint64_t>(j));
}

DistMatrix random_matrix(const Grid& grid, Index m, Index n, Index block) {
  DistMatrix x(grid, m, n, block);
  x.fill(element);
  return x;
}

TEST(Binding, BlasComesFromLibtorchAndTheRestFromLapack) {
  EXPECT_EQ(library_of_symbol("dgemm_"), "libtorch_cpu.so");
  EXPECT_EQ(library_of_symbol("sgemm_"), "libtorch_cpu.so");
  EXPECT_TRUE(library_of_symbol("dbdsqr_").starts_with("liblapack")) << library_of_symbol("dbdsqr_");
  EXPECT_TRUE(library_of_symbol("pdgesvd_").starts_with("libscalapack")) << library_of_symbol("pdgesvd_");
}

TEST(Binding, MklAsksTheProgramWhichKernelsToTake) { // and not itself, which gives other than Intel's processors AVX2
  EXPECT_EQ(library_of_symbol("mkl_serv_intel_cpu_true"), "linalg_test");
  EXPECT_EQ(library_of_symbol("mkl_serv_intel_cpu"), "linalg_test");
}

struct Shape {
  int grid_rows, grid_cols;
  Index m, n, block;
};

/// Every grid that the ranks allow, blocks from 1 to beyond the matrix, sizes that are no multiples of blocks.
std::vector<Shape> shapes() {
  std::vector<Shape> all;
  for (const auto& [rows, cols] : {std::pair{1, 1}, {1, 2}, {2, 1}, {1, 3}, {3, 1}, {2, 2}, {1, 4}})
    for (const auto& [m, n] : {std::pair<Index, Index>{50, 20}, {7, 7}, {33, 1}, {20, 50}})
      for (const Index block : {1, 2, 7, 32, 64})
        if (rows * cols <= world().size()) all.push_back({rows, cols, m, n, block});
  return all;
}

/// U, row-major, [m, min(m, n)].
std::vector<double> basis_of(const LeftBasis& basis) {
  const auto q = basis.q.gather();
  if (basis.rotation.empty()) return q;
  const Index n = basis.q.n();
  std::vector<double> u(q.size());
  product(view(q, basis.q.m(), n), view(basis.rotation, n, n), u.data(), n);
  return u;
}

TEST(DistMatrix, RowsAreThoseThatEachRankAsksFor) {
  for (const auto& s : shapes()) {
    const Grid grid(world(), s.grid_rows, s.grid_cols);
    const auto x = random_matrix(grid, s.m, s.n, s.block);
    const auto all = x.gather();
    const Index begin = std::min<Index>(s.m, 3 * world().rank());
    const Index end = std::min<Index>(s.m, begin + 4);
    EXPECT_EQ(x.rows(begin, end), std::vector<double>(all.begin() + begin * s.n, all.begin() + end * s.n));
  }
}

TEST(LeftBasis, IsOrthonormalAndSpansTheMatrixOnEveryGrid) {
  for (const auto& s : shapes()) {
    const Grid grid(world(), s.grid_rows, s.grid_cols);
    for (const bool whole : {false, true}) {
      const auto basis =
          whole ? left_basis_whole(random_matrix(grid, s.m, s.n, s.block)) : left_basis(random_matrix(grid, s.m, s.n, s.block));
      const auto u = basis_of(basis);
      const Index k = std::min(s.m, s.n);
      ASSERT_EQ(static_cast<Index>(basis.singular_values.size()), k);
      EXPECT_EQ(basis.rank, k);
      double orthogonality = 0;
      for (Index a = 0; a < k; ++a)
        for (Index b = 0; b < k; ++b) {
          double dot = a == b ? -1 : 0;
          for (Index i = 0; i < s.m; ++i) dot += u[static_cast<std::size_t>(i * k + a)] * u[static_cast<std::size_t>(i * k + b)];
          orthogonality = std::max(orthogonality, std::abs(dot));
        }
      EXPECT_LT(orthogonality, 1e-13) << s.m << "x" << s.n << " block " << s.block << " grid " << s.grid_rows << "x" << s.grid_cols;
      // ||U^T X|| by columns must give the singular values: row a of U^T X has norm s_a.
      for (Index a = 0; a < k; ++a) {
        double norm = 0;
        for (Index j = 0; j < s.n; ++j) {
          double dot = 0;
          for (Index i = 0; i < s.m; ++i) dot += u[static_cast<std::size_t>(i * k + a)] * element(i, j);
          norm += dot * dot;
        }
        EXPECT_NEAR(std::sqrt(norm), basis.singular_values[static_cast<std::size_t>(a)], 1e-12 * basis.singular_values[0]);
      }
    }
  }
}

TEST(SingularValues, DistributedEqualSerial) {
  for (const auto& s : shapes()) {
    const Grid grid(world(), s.grid_rows, s.grid_cols);
    std::vector<double> whole;
    for (Index i = 0; i < s.m; ++i)
      for (Index j = 0; j < s.n; ++j) whole.push_back(element(i, j));
    const auto serial = singular_values(whole, s.m, s.n);
    const auto distributed = singular_values(random_matrix(grid, s.m, s.n, s.block));
    ASSERT_EQ(serial.size(), distributed.size());
    for (std::size_t i = 0; i < serial.size(); ++i) EXPECT_NEAR(serial[i], distributed[i], 1e-13 * serial[0]);
  }
}

TEST(TransposedProduct, DistributedEqualsTheDefinition) {
  const Grid grid(world());
  const auto a = random_matrix(grid, 40, 13, 4);
  DistMatrix b(grid, 40, 9, 4);
  b.fill([](Index i, Index j) { return element(i + 1000, j); });
  const auto c = transposed_product(a, b).gather();
  const auto whole_a = a.gather();
  const auto whole_b = b.gather();
  std::vector<double> local(13 * 9);
  transposed_product(view(whole_a, 40, 13), view(whole_b, 40, 9), local.data(), 9);
  for (Index p = 0; p < 13; ++p)
    for (Index q = 0; q < 9; ++q) {
      double sum = 0;
      for (Index i = 0; i < 40; ++i) sum += element(i, p) * element(i + 1000, q);
      EXPECT_NEAR(c[static_cast<std::size_t>(p * 9 + q)], sum, 1e-12);
      EXPECT_NEAR(local[static_cast<std::size_t>(p * 9 + q)], sum, 1e-12);
    }
}

std::vector<double> random_values(std::uint64_t seed, Index count) {
  const Philox random(seed, "dense");
  std::vector<double> values;
  for (Index i = 0; i < count; ++i) values.push_back(random.normal(static_cast<std::uint64_t>(i)));
  return values;
}

TEST(Gram, IsTheProductAndItsEigenvectorsRebuildIt) {
  for (const Index n : {1, 5, 400}) { // beyond one panel
    const Index m = 70;
    const auto x = random_values(3, m * n);
    const auto g = gram(view(x, m, n));
    std::vector<double> whole(static_cast<std::size_t>(n * n));
    transposed_product(view(x, m, n), view(x, m, n), whole.data(), n);
    for (std::size_t e = 0; e < g.size(); ++e) ASSERT_NEAR(g[e], whole[e], 1e-11);
    auto vectors = g;
    const auto values = symmetric_eigen(vectors, n);
    EXPECT_TRUE(std::is_sorted(values.rbegin(), values.rend()));
    EXPECT_NEAR(symmetric_eigenvalues(g, n).front(), values.front(), 1e-10 * values.front());
    auto scaled = vectors;
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j < n; ++j) scaled[static_cast<std::size_t>(i * n + j)] *= values[static_cast<std::size_t>(j)];
    std::vector<double> rebuilt(static_cast<std::size_t>(n * n));
    product_with_transpose(view(scaled, n, n), view(vectors, n, n), rebuilt.data(), n);
    for (std::size_t e = 0; e < g.size(); ++e) ASSERT_NEAR(g[e], rebuilt[e], 1e-12 * static_cast<double>(n) * values.front());
  }
}

TEST(SingularValuesForSums, AgreeWithTheSvdAndLeaveHardCasesToIt) {
  for (const auto& [m, n] : {std::pair<Index, Index>{200, 300}, {300, 200}, {20, 30}}) {
    const auto x = random_values(5, m * n);
    const auto fast = singular_values_for_sums(x, m, n);
    const auto exact = singular_values(x, m, n);
    ASSERT_EQ(fast.size(), exact.size());
    double difference = 0;
    for (std::size_t i = 0; i < fast.size(); ++i) difference += fast[i] - exact[i];
    EXPECT_NEAR(difference, 0, 1e-12 * static_cast<double>(fast.size()) * exact[0]);
  }
  std::vector<double> graded(150 * 150, 0.0); // singular values down to 1e-12: their squares would drown
  double sum = 0;
  for (Index i = 0; i < 150; ++i) sum += graded[static_cast<std::size_t>(i * 151)] = i == 0 ? 1.0 : 1e-12;
  double got = 0;
  for (const double v : singular_values_for_sums(graded, 150, 150)) got += v;
  EXPECT_NEAR(got, sum, 1e-14);
}

TEST(QrColumnMajor, IsOrthonormalAndRebuilds) {
  const Index m = 40;
  const Index n = 9;
  const auto x = random_values(7, m * n); // column-major
  auto q = x;
  const auto r = qr_column_major(q, m, n);
  for (Index a = 0; a < n; ++a)
    for (Index b = 0; b < n; ++b) {
      double dot = 0;
      for (Index i = 0; i < m; ++i) dot += q[static_cast<std::size_t>(a * m + i)] * q[static_cast<std::size_t>(b * m + i)];
      EXPECT_NEAR(dot, a == b ? 1 : 0, 1e-14);
    }
  for (Index i = 0; i < m; ++i)
    for (Index j = 0; j < n; ++j) {
      double sum = 0;
      for (Index k = 0; k <= j; ++k) sum += q[static_cast<std::size_t>(k * m + i)] * r[static_cast<std::size_t>(k * n + j)];
      EXPECT_NEAR(sum, x[static_cast<std::size_t>(j * m + i)], 1e-13);
    }
}

TEST(CentreColumns, LeavesNoMeanEvenBesideLargeOnes) {
  const dist::Partition share{37, world().size()};
  std::vector<double> rows;
  for (Index i = share.begin(world().rank()); i < share.end(world().rank()); ++i)
    for (Index j = 0; j < 5; ++j) rows.push_back(1e8 + element(i, j));
  centre_columns(world(), rows, 37, 5);
  const auto whole = comm::all_gather(world(), rows);
  ASSERT_EQ(whole.size(), 37U * 5U);
  for (Index j = 0; j < 5; ++j) {
    double sum = 0;
    for (Index i = 0; i < 37; ++i) sum += whole[static_cast<std::size_t>(i * 5 + j)];
    EXPECT_NEAR(sum, 0, 1e-9);
  }
}

TEST(LeftBasis, CountsTheRankOfDeficientMatrices) {
  const Grid grid(world());
  DistMatrix x(grid, 150, 140, 64);
  x.fill([](Index i, Index j) { return j % 7 == 0 ? 0.0 : element(i, j % 7); }); // 6 distinct columns
  EXPECT_EQ(left_basis(std::move(x)).rank, 6);
  EXPECT_EQ(left_basis(DistMatrix(grid, 10, 4, 2)).rank, 0);
}

TEST(LeftBasis, RefusesInfinitiesAndNaNsInBoundedTime) {
  const Grid grid(world());
  for (const double bad : {std::numeric_limits<double>::infinity(), std::nan("")})
    expect_error(ExitCode::bad_data, "not finite", [&] {
      auto x = random_matrix(grid, 30, 20, 4);
      x.for_each([&](Index i, Index j, double& value) {
        if (i == 17 && j == 3) value = bad;
      });
      left_basis(std::move(x));
    });
}

TEST(DistMatrix, RefusesPartsBeyondWhatScalapackCounts) {
  const Grid grid(world(), 1, 1);
  if (!grid.active()) return; // it has no part
  expect_error(ExitCode::unavailable, "start more ranks", [&] { DistMatrix(grid, 70000, 70000); });
}

TEST(LeftBasis, TakesMoreRanksThanBlocksAndTheSmallestMatrices) {
  for (const auto& [m, n] : {std::pair<Index, Index>{1, 1}, {1, 2}, {2, 1}, {3, 2}}) {
    const Grid grid(world());
    const auto basis = left_basis(random_matrix(grid, m, n, 1)); // pdgesvd of 1 x 2 in blocks of 1 hangs
    EXPECT_EQ(basis.rank, std::min(m, n));
  }
}

TEST(Grid, MadeAndDestroyedFiveThousandTimes) {
  for (int i = 0; i < 5000; ++i) {
    const Grid grid(world());
    ASSERT_TRUE(grid.active());
  }
}

} // namespace
} // namespace concord::linalg
