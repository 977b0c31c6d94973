#include "concord/core/philox.hpp"
#include "concord/linalg/decompose.hpp"

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

TEST(LeftBasis, IsOrthonormalAndSpansTheMatrixOnEveryGrid) {
  for (const auto& s : shapes()) {
    const Grid grid(world(), s.grid_rows, s.grid_cols);
    const auto basis = left_basis(random_matrix(grid, s.m, s.n, s.block));
    const auto u = basis.u.gather();
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

TEST(SingularValues, DistributedEqualSerial) {
  for (const auto& s : shapes()) {
    const Grid grid(world(), s.grid_rows, s.grid_cols);
    std::vector<double> whole;
    for (Index i = 0; i < s.m; ++i)
      for (Index j = 0; j < s.n; ++j) whole.push_back(element(i, j));
    const auto serial = singular_values_local(whole, s.m, s.n);
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
  transposed_product_local(whole_a.data(), whole_b.data(), 40, 13, 9, local.data());
  for (Index p = 0; p < 13; ++p)
    for (Index q = 0; q < 9; ++q) {
      double sum = 0;
      for (Index i = 0; i < 40; ++i) sum += element(i, p) * element(i + 1000, q);
      EXPECT_NEAR(c[static_cast<std::size_t>(p * 9 + q)], sum, 1e-12);
      EXPECT_NEAR(local[static_cast<std::size_t>(p * 9 + q)], sum, 1e-12);
    }
}

TEST(CentreColumns, LeavesNoMeanEvenBesideLargeOnes) {
  const Grid grid(world());
  DistMatrix x(grid, 37, 5, 3);
  x.fill([](Index i, Index j) { return 1e8 + element(i, j); });
  centre_columns(x);
  const auto whole = x.gather();
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

TEST(Grid, MadeAndDestroyedFiveThousandTimes) {
  for (int i = 0; i < 5000; ++i) {
    const Grid grid(world());
    ASSERT_TRUE(grid.active());
  }
}

} // namespace
} // namespace concord::linalg
