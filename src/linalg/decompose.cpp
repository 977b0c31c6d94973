#include "concord/linalg/decompose.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"

#include "linalg/scalapack.hpp"
#include <algorithm>
#include <cmath>
#include <dlfcn.h>
#include <filesystem>
#include <limits>

namespace concord::linalg {
namespace {

constexpr int one = 1;

/// Calls `routine(work, lwork)` with a queried workspace, a little larger than asked: queries of some releases round down.
template <typename Routine>
void with_workspace(const char* name, const Routine& routine) {
  double query = 0;
  int info = routine(&query, -1);
  require(info == 0, ExitCode::internal, "{} refused its workspace query (info {})", name, info);
  const double wanted = std::ceil(query * (1 + 1e-6)) + 64;
  require(wanted < std::numeric_limits<int>::max(), ExitCode::unavailable, "{} needs a workspace of {} numbers; start more ranks", name,
          wanted);
  std::vector<double> work(static_cast<std::size_t>(wanted));
  info = routine(work.data(), static_cast<int>(wanted));
  require(info == 0, ExitCode::internal, "{} failed (info {})", name, info);
}

void require_finite(const DistMatrix& x) {
  Index bad = 0;
  for (const double value : x.local()) bad += std::isfinite(value) ? 0 : 1;
  bad = comm::sum_of(x.grid().comm(), bad);
  if (bad > 0)
    throw Error(ExitCode::bad_data, fmt::format("a matrix to decompose holds {} values that are not finite", bad), /*agreed=*/true);
}

/// pdgesvd hangs on some tiny distributed problems (1 x 2 in blocks of 1 on a 1 x 2 grid).
bool is_tiny(const DistMatrix& x) {
  return std::min(x.m(), x.n()) < 2 * x.block();
}

Index numerical_rank(const std::vector<double>& s, Index m, Index n) {
  if (s.empty() || s[0] == 0) return 0;
  const double floor = static_cast<double>(std::max(m, n)) * std::numeric_limits<double>::epsilon() * s[0];
  return std::count_if(s.begin(), s.end(), [&](double value) { return value > floor; });
}

/// Column-major SVD with left vectors: a [m, n] is overwritten, u [m, min(m, n)].
void svd_local(std::vector<double>& a, int m, int n, bool vectors, std::vector<double>& s, std::vector<double>& u) {
  const int small = std::min(m, n);
  s.resize(static_cast<std::size_t>(small));
  u.resize(vectors ? static_cast<std::size_t>(m) * static_cast<std::size_t>(small) : 1);
  std::vector<double> vt(vectors ? static_cast<std::size_t>(small) * static_cast<std::size_t>(n) : 1);
  std::vector<int> integers(static_cast<std::size_t>(8 * small));
  const char job = vectors ? 'S' : 'N';
  const int ldu = vectors ? m : 1;
  const int ldvt = vectors ? small : 1;
  with_workspace("dgesdd", [&](double* work, int lwork) {
    int info = 0;
    dgesdd_(&job, &m, &n, a.data(), &m, s.data(), u.data(), &ldu, vt.data(), &ldvt, work, &lwork, integers.data(), &info);
    return info;
  });
}

struct Svd {
  std::vector<double> values;
  DistMatrix u;
};

/// SVD of a square or small matrix that every rank can hold: each rank computes the same.
Svd svd_gathered(const DistMatrix& x, bool vectors) {
  const auto whole = x.gather();
  const Index m = x.m();
  const Index n = x.n();
  std::vector<double> a(whole.size());
  for (Index i = 0; i < m; ++i)
    for (Index j = 0; j < n; ++j) a[static_cast<std::size_t>(j * m + i)] = whole[static_cast<std::size_t>(i * n + j)];
  std::vector<double> s;
  std::vector<double> u;
  svd_local(a, narrow_int(m, "rows"), narrow_int(n, "columns"), vectors, s, u);
  comm::broadcast(x.grid().comm(), s); // one rank's bits for all
  comm::broadcast(x.grid().comm(), u);
  Svd result{s, DistMatrix(x.grid(), m, std::min(m, n), x.block())};
  if (vectors) result.u.fill([&](Index i, Index j) { return u[static_cast<std::size_t>(j * m + i)]; });
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
  return is_tiny(x) ? svd_gathered(x, vectors) : svd_distributed(std::move(x), vectors);
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

void centre_columns(DistMatrix& x) {
  for (int pass = 0; pass < 2; ++pass) { // the second pass removes what rounding left of the mean
    std::vector<double> means(static_cast<std::size_t>(x.n()), 0.0);
    std::as_const(x).for_each([&](Index, Index j, double value) { means[static_cast<std::size_t>(j)] += value; });
    comm::sum(x.grid().comm(), means);
    x.for_each([&](Index, Index j, double& value) { value -= means[static_cast<std::size_t>(j)] / static_cast<double>(x.m()); });
  }
}

LeftBasis left_basis(DistMatrix x) {
  require_finite(x);
  if (x.m() < x.n()) { // no tall factor to gain from
    const Index wide_m = x.m();
    const Index wide_n = x.n();
    Svd direct = svd(std::move(x), true);
    const Index rank = numerical_rank(direct.values, wide_m, wide_n);
    return {std::move(direct.values), rank, std::move(direct.u)};
  }
  const Grid& grid = x.grid();
  const int m = narrow_int(x.m(), "rows");
  const int n = narrow_int(x.n(), "columns");
  std::vector<double> tau(x.local().size() / static_cast<std::size_t>(std::max(1, x.descriptor()[8])) + 64);
  if (grid.active())
    with_workspace("pdgeqrf", [&](double* work, int lwork) {
      int info = 0;
      pdgeqrf_(&m, &n, x.local().data(), &one, &one, x.descriptor().data(), tau.data(), work, &lwork, &info);
      return info;
    });
  // R sits in the top n rows of x with the same owners as in an n x n matrix of the same blocks.
  DistMatrix r(grid, n, n, x.block());
  const Index leading_x = x.descriptor()[8];
  const Index leading_r = r.descriptor()[8];
  if (grid.active()) {
    const dist::BlockCyclic rows{n, x.block(), grid.rows()};
    const dist::BlockCyclic cols{n, x.block(), grid.cols()};
    for (Index c = 0; c < cols.size(grid.col()); ++c)
      for (Index i = 0; i < rows.size(grid.row()); ++i)
        if (rows.global(i, grid.row()) <= cols.global(c, grid.col()))
          r.local()[static_cast<std::size_t>(c * leading_r + i)] = x.local()[static_cast<std::size_t>(c * leading_x + i)];
  }
  Svd svd_of_r = svd(std::move(r), true);
  LeftBasis basis{std::move(svd_of_r.values), 0, DistMatrix(grid, m, n, x.block())};
  basis.rank = numerical_rank(basis.singular_values, m, n);
  const Index leading_u = basis.u.descriptor()[8];
  const Index leading_ur = svd_of_r.u.descriptor()[8];
  if (grid.active()) {
    const dist::BlockCyclic rows{n, x.block(), grid.rows()};
    const dist::BlockCyclic cols{n, x.block(), grid.cols()};
    for (Index c = 0; c < cols.size(grid.col()); ++c)
      for (Index i = 0; i < rows.size(grid.row()); ++i)
        basis.u.local()[static_cast<std::size_t>(c * leading_u + i)] = svd_of_r.u.local()[static_cast<std::size_t>(c * leading_ur + i)];
    with_workspace("pdormqr", [&](double* work, int lwork) {
      int info = 0;
      pdormqr_("L", "N", &m, &n, &n, x.local().data(), &one, &one, x.descriptor().data(), tau.data(), basis.u.local().data(), &one, &one,
               basis.u.descriptor().data(), work, &lwork, &info);
      return info;
    });
  }
  return basis;
}

std::vector<double> singular_values(DistMatrix x) {
  require_finite(x);
  return svd(std::move(x), false).values;
}

std::vector<double> singular_values_local(std::vector<double> x, Index m, Index n) {
  std::vector<double> s;
  std::vector<double> u;
  svd_local(x, narrow_int(n, "columns"), narrow_int(m, "rows"), false, s, u); // row-major is the transpose: same values
  return s;
}

void transposed_product_local(const double* a, const double* b, Index m, Index ka, Index kb, double* c) {
  const int rows = narrow_int(kb, "columns of b");
  const int cols = narrow_int(ka, "columns of a");
  const int inner = narrow_int(m, "rows");
  const double alpha = 1;
  const double beta = 0;
  dgemm_("N", "T", &rows, &cols, &inner, &alpha, b, &rows, a, &cols, &beta, c, &rows);
}

void product_with_transpose_local(const double* a, const double* b, Index ma, Index mb, Index k, double* c) {
  const int rows = narrow_int(mb, "rows of b");
  const int cols = narrow_int(ma, "rows of a");
  const int inner = narrow_int(k, "inner dimension");
  const double alpha = 1;
  const double beta = 0;
  dgemm_("T", "N", &rows, &cols, &inner, &alpha, b, &inner, a, &inner, &beta, c, &rows);
}

std::string library_of_symbol(const char* symbol) {
  void* address = ::dlsym(RTLD_DEFAULT, symbol);
  Dl_info info{};
  if (address == nullptr || ::dladdr(address, &info) == 0) return "none";
  return std::filesystem::path(info.dli_fname).filename().string();
}

} // namespace concord::linalg
