#include "concord/similarity/svcca.hpp"

#include "concord/linalg/decompose.hpp"

#include <algorithm>
#include <numeric>

namespace concord::similarity {

using linalg::DistMatrix;

SvccaSide cut(const std::vector<double>& singular_values, Index rank, const SvccaOptions& options) {
  double total = 0;
  for (const double s : singular_values) total += s * s;
  SvccaSide side{0, rank, 0, 0};
  double kept = 0;
  while (side.k < rank) {
    side.variance_before_k = kept / total;
    kept += singular_values[static_cast<std::size_t>(side.k)] * singular_values[static_cast<std::size_t>(side.k)];
    ++side.k;
    side.variance_at_k = kept / total;
    if (options.k > 0 ? side.k == options.k : side.variance_at_k >= options.variance) break;
  }
  return side;
}

namespace {

DistMatrix centred(const linalg::Grid& grid, const Matrix& matrix) {
  DistMatrix dist(grid, matrix.rows, matrix.cols);
  dist.fill([&](Index i, Index j) { return matrix.at(i, j); });
  linalg::centre_columns(dist);
  return dist;
}

/// The first k columns.
DistMatrix leading_columns(const DistMatrix& u, Index k) {
  DistMatrix kept(u.grid(), u.m(), k, u.block());
  // Columns keep their owners and come first in every local part.
  std::copy_n(u.local().begin(), std::min(kept.local().size(), u.local().size()), kept.local().begin());
  return kept;
}

double mean_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

/// Mean canonical correlation when row i of ux meets row order[i] of uy (row-major, local).
double shuffled_score(const std::vector<double>& ux, const std::vector<double>& uy, Index m, Index kx, Index ky,
                      const std::vector<Index>& order) {
  std::vector<double> permuted(uy.size());
  for (Index i = 0; i < m; ++i) std::copy_n(uy.begin() + order[static_cast<std::size_t>(i)] * ky, ky, permuted.begin() + i * ky);
  std::vector<double> product(static_cast<std::size_t>(kx * ky));
  linalg::transposed_product_local(ux.data(), permuted.data(), m, kx, ky, product.data());
  return mean_of(linalg::singular_values_local(std::move(product), kx, ky));
}

} // namespace

Svcca svcca(const comm::Communicator& comm, const Matrix& x, const Matrix& y, const SvccaOptions& options, Index permutations,
            std::uint64_t seed) {
  if (x.rows != y.rows)
    throw Error(ExitCode::bad_data, fmt::format("matched rows are needed: {} against {}", x.rows, y.rows), /*agreed=*/true);
  Svcca result;
  if (x.rows < 3) {
    result.measure = undefined(fmt::format("{} matched rows are too few", x.rows));
    return result;
  }
  const linalg::Grid grid(comm);
  const auto basis_x = linalg::left_basis(centred(grid, x));
  const auto basis_y = linalg::left_basis(centred(grid, y));
  result.x = cut(basis_x.singular_values, basis_x.rank, options);
  result.y = cut(basis_y.singular_values, basis_y.rank, options);
  const Index m = x.rows;
  if (result.x.k == 0 || result.y.k == 0) {
    result.measure = undefined("a side has no variance");
    return result;
  }
  if (m - 1 <= std::max(result.x.k, result.y.k)) {
    result.measure =
        undefined(fmt::format("{} matched rows for k = {} and {}: every score would be 1; set compare.svcca_k to a tenth of the rows", m,
                              result.x.k, result.y.k));
    return result;
  }
  result.forced_ones = std::max<Index>(0, result.x.k + result.y.k - (m - 1));
  const DistMatrix ux = leading_columns(basis_x.u, result.x.k);
  const DistMatrix uy = leading_columns(basis_y.u, result.y.k);
  result.measure.score = mean_of(linalg::singular_values(linalg::transposed_product(ux, uy)));
  if (permutations <= 0) return result;
  const auto all_x = ux.gather();
  const auto all_y = uy.gather();
  add_permutation_null(comm, result.measure, m, permutations, seed,
                       [&](const std::vector<Index>& order) { return shuffled_score(all_x, all_y, m, result.x.k, result.y.k, order); });
  return result;
}

} // namespace concord::similarity
