#pragma once
/// Dense products, eigenvalues and singular values of matrices that one rank holds, on BLAS and LAPACK. Local. Row-major.

#include "concord/core/index.hpp"

#include <vector>

namespace concord::linalg {

/// A row-major matrix or a part of one: rows are `stride` numbers apart.
struct View {
  const double* data = nullptr;
  Index rows = 0;
  Index cols = 0;
  Index stride = 0;
};
View view(const std::vector<double>& values, Index rows, Index cols);

/// a b -> c [a.rows, b.cols], rows of c `stride` apart.
void product(const View& a, const View& b, double* c, Index stride);
/// Whether a product replaces c or is added to it.
enum class Into { replaced, sum };
/// a^T b -> c [a.cols, b.cols].
void transposed_product(const View& a, const View& b, double* c, Index stride, Into into = Into::replaced);
/// a b^T -> c [a.rows, b.rows].
void product_with_transpose(const View& a, const View& b, double* c, Index stride);
/// x^T x [cols, cols], both triangles; one is computed and copied.
std::vector<double> gram(const View& x);

/// The transpose, row-major.
std::vector<double> transposed(const View& x);

/// Eigenvalues, descending, of a symmetric matrix (dsyevd).
std::vector<double> symmetric_eigenvalues(std::vector<double> a, Index n);
/// The same, and a becomes the eigenvectors, one a column in the same order.
std::vector<double> symmetric_eigen(std::vector<double>& a, Index n);

/// Singular values, descending, of x [m, n] (dgesdd).
std::vector<double> singular_values(std::vector<double> x, Index m, Index n);

/// The same by the eigenvalues of the smaller of x x^T and x^T x, a third of the time, where that loses no more than 1e-12 of their sum;
/// else by singular_values. A small singular value s has an error of eps s_1^2 / s, so only the sum is accurate.
std::vector<double> singular_values_for_sums(const std::vector<double>& x, Index m, Index n);

/// The left singular vectors u [m, min(m, n)] of x [m, n], and its singular values (dgesdd).
struct LeftVectors {
  std::vector<double> values;
  std::vector<double> u;
};
LeftVectors left_vectors(const View& x);

/// Householder QR of a tall x [m, n], column-major: x becomes Q, the result is R, row-major (dgeqrf, dorgqr).
std::vector<double> qr_column_major(std::vector<double>& x, Index m, Index n);

/// While it lives, BLAS calls of this thread use no further threads. For loops that have threads of their own.
class SerialBlas {
public:
  SerialBlas();
  ~SerialBlas();
  SerialBlas(const SerialBlas&) = delete;
  SerialBlas& operator=(const SerialBlas&) = delete;

private:
  int before_ = 0;
};

} // namespace concord::linalg
