#include "concord/linalg/dense.hpp"

#include "concord/core/at.hpp"
#include "concord/core/error.hpp"

#include "linalg/scalapack.hpp"
#include "linalg/workspace.hpp"
#include <algorithm>
#include <cmath>
#include <limits>

namespace concord::linalg {
namespace {

constexpr double eps = std::numeric_limits<double>::epsilon();

/// Row-major c = op(a) op(b) is column-major c^T = op(b)^T op(a)^T.
void gemm(bool transpose_a, bool transpose_b, Index m, Index n, Index k, const View& a, const View& b, double* c, Index stride,
          Into into = Into::replaced) {
  if (m == 0 || n == 0) return;
  const int rows = narrow_int(n, "columns");
  const int cols = narrow_int(m, "rows");
  const int inner = narrow_int(k, "inner dimension");
  const int lda = narrow_int(std::max<Index>(1, a.stride), "row length");
  const int ldb = narrow_int(std::max<Index>(1, b.stride), "row length");
  const int ldc = narrow_int(stride, "row length");
  const double alpha = 1;
  const double beta = into == Into::sum ? 1 : 0;
  dgemm_(transpose_b ? "T" : "N", transpose_a ? "T" : "N", &rows, &cols, &inner, &alpha, b.data, &ldb, a.data, &lda, &beta, c, &ldc);
}

std::vector<double> eigen(const char* job, std::vector<double>& a, Index n) {
  std::vector<double> values(at(n));
  const int order = narrow_int(n, "order");
  if (order == 0) return values;
  double query = 0;
  int integers = 0;
  const int ask = -1;
  int info = 0;
  dsyevd_(job, "U", &order, a.data(), &order, values.data(), &query, &ask, &integers, &ask, &info);
  require(info == 0, ExitCode::internal, "dsyevd refused its workspace query (info {})", info);
  const int words = workspace_size("dsyevd", query);
  std::vector<double> work(static_cast<std::size_t>(words));
  std::vector<int> iwork(static_cast<std::size_t>(integers) + 64);
  const int liwork = integers + 64;
  dsyevd_(job, "U", &order, a.data(), &order, values.data(), work.data(), &words, iwork.data(), &liwork, &info);
  require(info == 0, ExitCode::internal, "dsyevd failed (info {})", info);
  std::reverse(values.begin(), values.end());
  return values;
}

/// x column-major [m, n] is overwritten; with vectors, u column-major [m, min(m, n)].
std::vector<double> svd_column_major(std::vector<double>& x, Index m, Index n, bool vectors, std::vector<double>& u) {
  const int rows = narrow_int(m, "rows");
  const int cols = narrow_int(n, "columns");
  const int small = std::min(rows, cols);
  std::vector<double> values(static_cast<std::size_t>(small));
  if (small == 0) return values;
  u.resize(vectors ? at(m * small) : 1);
  std::vector<double> vt(vectors ? at(small * n) : 1);
  std::vector<int> integers(8 * static_cast<std::size_t>(small));
  const int ldu = vectors ? rows : 1;
  const int ldvt = vectors ? small : 1;
  with_workspace("dgesdd", [&](double* work, int lwork) {
    int info = 0;
    dgesdd_(vectors ? "S" : "N", &rows, &cols, x.data(), &rows, values.data(), u.data(), &ldu, vt.data(), &ldvt, work, &lwork,
            integers.data(), &info);
    return info;
  });
  return values;
}

} // namespace

View view(const std::vector<double>& values, Index rows, Index cols) {
  return {values.data(), rows, cols, cols};
}

void product(const View& a, const View& b, double* c, Index stride) {
  gemm(false, false, a.rows, b.cols, a.cols, a, b, c, stride);
}

void transposed_product(const View& a, const View& b, double* c, Index stride, Into into) {
  gemm(true, false, a.cols, b.cols, a.rows, a, b, c, stride, into);
}

void product_with_transpose(const View& a, const View& b, double* c, Index stride) {
  gemm(false, true, a.rows, b.rows, a.cols, a, b, c, stride);
}

std::vector<double> gram(const View& x) {
  const Index n = x.cols;
  std::vector<double> g(at(n * n));
  constexpr Index panel = 384; // wide enough for dgemm's full speed; what it wastes is panel / n of the half that is saved
  for (Index begin = 0; begin < n; begin += panel) {
    const Index width = std::min(panel, n - begin);
    const View rows{x.data + begin, x.rows, width, x.stride};
    const View rest{x.data + begin, x.rows, n - begin, x.stride};
    transposed_product(rows, rest, g.data() + begin * n + begin, n);
  }
  for (Index i = 0; i < n; ++i)
    for (Index j = 0; j < i; ++j) g[at(i * n + j)] = g[at(j * n + i)];
  return g;
}

std::vector<double> transposed(const View& x) {
  std::vector<double> out(at(x.rows * x.cols));
  constexpr Index tile = 32;
  for (Index i0 = 0; i0 < x.rows; i0 += tile)
    for (Index j0 = 0; j0 < x.cols; j0 += tile)
      for (Index j = j0; j < std::min(x.cols, j0 + tile); ++j)
        for (Index i = i0; i < std::min(x.rows, i0 + tile); ++i) out[at(j * x.rows + i)] = x.data[i * x.stride + j];
  return out;
}

std::vector<double> symmetric_eigenvalues(std::vector<double> a, Index n) {
  return eigen("N", a, n);
}

std::vector<double> symmetric_eigen(std::vector<double>& a, Index n) {
  auto values = eigen("V", a, n);
  // LAPACK's columns in ascending order are our rows; ours are columns in descending order.
  a = transposed(view(a, n, n));
  for (Index i = 0; i < n; ++i) std::reverse(a.begin() + i * n, a.begin() + (i + 1) * n);
  return values;
}

std::vector<double> singular_values(std::vector<double> x, Index m, Index n) {
  std::vector<double> none;
  return svd_column_major(x, n, m, false, none); // row-major is the transpose: the same values
}

std::vector<double> singular_values_for_sums(const std::vector<double>& x, Index m, Index n) {
  constexpr Index small = 128;
  if (std::min(m, n) <= small) return singular_values(x, m, n);
  std::vector<double> g;
  if (m < n) {
    g.resize(at(m * m));
    constexpr Index panel = 384;
    for (Index begin = 0; begin < m; begin += panel) { // the half on and above the diagonal
      const View rows{x.data() + begin * n, std::min(panel, m - begin), n, n};
      product_with_transpose(rows, {x.data() + begin * n, m - begin, n, n}, g.data() + begin * m + begin, m);
    }
    for (Index i = 0; i < m; ++i)
      for (Index j = 0; j < i; ++j) g[at(i * m + j)] = g[at(j * m + i)];
  } else {
    g = gram(view(x, m, n));
  }
  auto values = symmetric_eigenvalues(std::move(g), std::min(m, n));
  const double largest = std::sqrt(std::max(0.0, values.empty() ? 0.0 : values.front()));
  double sum = 0;
  double lost = 0;
  for (double& value : values) {
    value = std::sqrt(std::max(0.0, value));
    sum += value;
    lost += eps * largest * largest / std::max(value, std::sqrt(eps) * largest);
  }
  return lost <= 1e-12 * sum ? values : singular_values(x, m, n);
}

LeftVectors left_vectors(const View& x) {
  auto copy = transposed(x); // column-major x
  LeftVectors result;
  std::vector<double> u;
  result.values = svd_column_major(copy, x.rows, x.cols, true, u);
  result.u = transposed(view(u, std::min(x.rows, x.cols), x.rows));
  return result;
}

std::vector<double> qr_column_major(std::vector<double>& x, Index m, Index n) {
  const int rows = narrow_int(m, "rows");
  const int cols = narrow_int(n, "columns");
  std::vector<double> tau(at(std::max<Index>(1, n)));
  with_workspace("dgeqrf", [&](double* work, int lwork) {
    int info = 0;
    dgeqrf_(&rows, &cols, x.data(), &rows, tau.data(), work, &lwork, &info);
    return info;
  });
  std::vector<double> r(at(n * n), 0.0);
  for (Index i = 0; i < n; ++i)
    for (Index j = i; j < n; ++j) r[at(i * n + j)] = x[at(j * m + i)];
  with_workspace("dorgqr", [&](double* work, int lwork) {
    int info = 0;
    dorgqr_(&rows, &cols, &cols, x.data(), &rows, tau.data(), work, &lwork, &info);
    return info;
  });
  return r;
}

// MKL's and OpenMP's switches for the calling thread; a BLAS without them is told by OMP_NUM_THREADS alone.
// NOLINTBEGIN(readability-identifier-naming): the names are the libraries'.
extern "C" {
int MKL_Set_Num_Threads_Local(int threads) __attribute__((weak));
void omp_set_num_threads(int threads) __attribute__((weak));
int omp_get_max_threads() __attribute__((weak));
}
// NOLINTEND(readability-identifier-naming)

SerialBlas::SerialBlas() {
  if (omp_get_max_threads != nullptr) before_ = omp_get_max_threads();
  if (omp_set_num_threads != nullptr) omp_set_num_threads(1);
  if (MKL_Set_Num_Threads_Local != nullptr) MKL_Set_Num_Threads_Local(1);
}

SerialBlas::~SerialBlas() {
  if (omp_set_num_threads != nullptr && before_ > 0) omp_set_num_threads(before_);
  if (MKL_Set_Num_Threads_Local != nullptr) MKL_Set_Num_Threads_Local(0); // as for all threads again
}

} // namespace concord::linalg

// MKL asks these whether to choose kernels by what the processor can do, or to give others than Intel's the ones of AVX2, which on an AMD
// processor with full AVX-512 run at half the speed. Such a processor says yes here; the program's answer comes before the library's own.
#ifdef __x86_64__
// NOLINTBEGIN(readability-identifier-naming): the names are MKL's.
extern "C" {
int mkl_serv_intel_cpu_true() {
  return __builtin_cpu_is("intel") || (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                                       __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"));
}
int mkl_serv_intel_cpu() {
  return mkl_serv_intel_cpu_true();
}
}
// NOLINTEND(readability-identifier-naming)
#endif
