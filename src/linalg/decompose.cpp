#include "concord/linalg/decompose.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/linalg/dense.hpp"

#include "linalg/scalapack.hpp"
#include "linalg/workspace.hpp"
#include <algorithm>
#include <cmath>
#include <dlfcn.h>
#include <filesystem>
#include <limits>

namespace concord::linalg {
namespace {

constexpr int one = 1;

void require_finite(const DistMatrix& x) {
  Index bad = 0;
  for (const double value : x.local()) bad += std::isfinite(value) ? 0 : 1;
  bad = comm::sum_of(x.grid().comm(), bad);
  if (bad > 0)
    throw Error(ExitCode::bad_data, fmt::format("a matrix to decompose holds {} values that are not finite", bad), /*agreed=*/true);
}

/// pdgesvd hangs on some tiny distributed problems (1 x 2 in blocks of 1 on a 1 x 2 grid) and fails on others (3 x 2 on 1 x 3).
bool is_tiny(const DistMatrix& x) {
  return std::min(x.m(), x.n()) < std::max<Index>(2 * x.block(), x.grid().comm().size());
}

struct Svd {
  std::vector<double> values;
  DistMatrix u;
};

/// SVD of a matrix that every rank can hold: each rank computes the same.
Svd svd_gathered(const DistMatrix& x, bool vectors) {
  auto whole = x.gather();
  const Index m = x.m();
  const Index n = x.n();
  Svd result{{}, DistMatrix(x.grid(), m, std::min(m, n), x.block())};
  if (!vectors) {
    result.values = singular_values(std::move(whole), m, n);
    comm::broadcast(x.grid().comm(), result.values); // one rank's bits for all
    return result;
  }
  auto left = left_vectors(view(whole, m, n));
  comm::broadcast(x.grid().comm(), left.values);
  comm::broadcast(x.grid().comm(), left.u);
  result.values = std::move(left.values);
  result.u.fill([&](Index i, Index j) { return left.u[static_cast<std::size_t>(i * result.u.n() + j)]; });
  return result;
}

Svd svd_distributed(DistMatrix x, bool vectors) {
  const int m = narrow_int(x.m(), "rows");
  const int n = narrow_int(x.n(), "columns");
  Svd result{std::vector<double>(static_cast<std::size_t>(std::min(m, n))), DistMatrix(x.grid(), m, std::min(m, n), x.block())};
  const char job = vectors ? 'V' : 'N';
  double no_vt = 0;
  if (x.grid().active())
    with_workspace("pdgesvd", [&](double* work, int lwork) {
      int info = 0;
      pdgesvd_(&job, "N", &m, &n, x.local().data(), &one, &one, x.descriptor().data(), result.values.data(), result.u.local().data(), &one,
               &one, result.u.descriptor().data(), &no_vt, &one, &one, x.descriptor().data(), work, &lwork, &info);
      return info;
    });
  comm::broadcast(x.grid().comm(), result.values);
  return result;
}

Svd svd(DistMatrix x, bool vectors) {
  return is_tiny(x) || x.grid().comm().size() == 1 ? svd_gathered(x, vectors) : svd_distributed(std::move(x), vectors);
}

} // namespace

DistMatrix transposed_product(const DistMatrix& a, const DistMatrix& b) {
  DistMatrix c(a.grid(), a.n(), b.n(), a.block());
  const int m = narrow_int(a.n(), "rows");
  const int n = narrow_int(b.n(), "columns");
  const int k = narrow_int(a.m(), "inner dimension");
  const double alpha = 1;
  const double beta = 0;
  if (a.grid().active())
    pdgemm_("T", "N", &m, &n, &k, &alpha, a.local().data(), &one, &one, a.descriptor().data(), b.local().data(), &one, &one,
            b.descriptor().data(), &beta, c.local().data(), &one, &one, c.descriptor().data());
  return c;
}

void centre_columns(const comm::Communicator& comm, std::vector<double>& rows, Index m, Index d) {
  const auto width = static_cast<std::size_t>(d);
  for (int pass = 0; pass < 2; ++pass) {
    std::vector<double> means(width, 0.0);
    for (std::size_t row = 0; row < rows.size(); row += width)
      for (std::size_t c = 0; c < width; ++c) means[c] += rows[row + c];
    comm::sum(comm, means);
    for (double& mean : means) mean /= static_cast<double>(m);
    for (std::size_t row = 0; row < rows.size(); row += width)
      for (std::size_t c = 0; c < width; ++c) rows[row + c] -= means[c];
  }
}

namespace {

/// Rows and columns [0, n) on and above the diagonal of a factored x, whose top rows have the owners of an n x n matrix of the same blocks.
DistMatrix upper_triangle(const DistMatrix& x) {
  const Grid& grid = x.grid();
  DistMatrix r(grid, x.n(), x.n(), x.block());
  if (!grid.active()) return r;
  const dist::BlockCyclic rows{x.n(), x.block(), grid.rows()};
  const dist::BlockCyclic cols{x.n(), x.block(), grid.cols()};
  for (Index c = 0; c < cols.size(grid.col()); ++c)
    for (Index i = 0; i < rows.size(grid.row()); ++i)
      if (rows.global(i, grid.row()) <= cols.global(c, grid.col()))
        r.local()[static_cast<std::size_t>(c * r.leading() + i)] = x.local()[static_cast<std::size_t>(c * x.leading() + i)];
  return r;
}

/// x becomes Q; returns R.
DistMatrix qr_distributed(DistMatrix& x) {
  const Grid& grid = x.grid();
  const int m = narrow_int(x.m(), "rows");
  const int n = narrow_int(x.n(), "columns");
  std::vector<double> tau(x.local().size() / static_cast<std::size_t>(x.leading()) + 64);
  if (grid.active())
    with_workspace("pdgeqrf", [&](double* work, int lwork) {
      int info = 0;
      pdgeqrf_(&m, &n, x.local().data(), &one, &one, x.descriptor().data(), tau.data(), work, &lwork, &info);
      return info;
    });
  DistMatrix r = upper_triangle(x);
  if (grid.active())
    with_workspace("pdorgqr", [&](double* work, int lwork) {
      int info = 0;
      pdorgqr_(&m, &n, &n, x.local().data(), &one, &one, x.descriptor().data(), tau.data(), work, &lwork, &info);
      return info;
    });
  return r;
}

/// On one rank the local part is the whole matrix, column-major.
LeftBasis left_basis_alone(DistMatrix x) {
  const Index n = x.n();
  const auto r = qr_column_major(x.local(), x.m(), n);
  auto [values, u] = left_vectors(view(r, n, n));
  const Index rank = numerical_rank(values, x.m(), n);
  return {std::move(values), rank, std::move(x), std::move(u)};
}

} // namespace

Index numerical_rank(const std::vector<double>& s, Index m, Index n) {
  if (s.empty() || s[0] == 0) return 0;
  const double floor = static_cast<double>(std::max(m, n)) * std::numeric_limits<double>::epsilon() * s[0];
  return std::count_if(s.begin(), s.end(), [&](double value) { return value > floor; });
}

LeftBasis left_basis_whole(DistMatrix x) {
  require_finite(x);
  const Index m = x.m();
  const Index n = x.n();
  Svd direct = is_tiny(x) ? svd_gathered(x, true) : svd_distributed(std::move(x), true);
  const Index rank = numerical_rank(direct.values, m, n);
  return {std::move(direct.values), rank, std::move(direct.u), {}};
}

LeftBasis left_basis(DistMatrix x) {
  require_finite(x);
  const Index m = x.m();
  const Index n = x.n();
  if (m < n) { // no tall factor to gain from
    Svd direct = svd(std::move(x), true);
    const Index rank = numerical_rank(direct.values, m, n);
    return {std::move(direct.values), rank, std::move(direct.u), {}};
  }
  if (x.grid().comm().size() == 1) return left_basis_alone(std::move(x));
  Svd svd_of_r = svd(qr_distributed(x), true);
  const Index rank = numerical_rank(svd_of_r.values, m, n);
  return {std::move(svd_of_r.values), rank, std::move(x), svd_of_r.u.gather()};
}

std::vector<double> singular_values(DistMatrix x) {
  require_finite(x);
  return svd(std::move(x), false).values;
}

std::string library_of_symbol(const char* symbol) {
  void* address = ::dlsym(RTLD_DEFAULT, symbol);
  Dl_info info{};
  if (address == nullptr || ::dladdr(address, &info) == 0) return "none";
  return std::filesystem::path(info.dli_fname).filename().string();
}

} // namespace concord::linalg
