#pragma once
/// Distributed products, QR and SVD on ScaLAPACK. Each is collective over the grid's communicator.

#include "concord/linalg/dist_matrix.hpp"

namespace concord::linalg {

/// a^T b of equally tall matrices on one grid (pdgemm).
DistMatrix transposed_product(const DistMatrix& a, const DistMatrix& b);

/// Subtracts each column's mean, in two passes.
void centre_columns(DistMatrix& x);

/// The left singular basis of a matrix.
struct LeftBasis {
  std::vector<double> singular_values; ///< descending, all min(m, n) of them
  Index rank = 0;                      ///< singular values above max(m, n) eps s_1
  DistMatrix u;                        ///< [m, min(m, n)], orthonormal columns for the first `rank`
};

/// QR route: pdgeqrf of x, pdgesvd of the n x n factor R, pdormqr on its left vectors; a wide x (m < n) goes straight to
/// pdgesvd. `x` is consumed.
/// Problems below two blocks go to serial LAPACK, where pdgesvd of ScaLAPACK 2.2.1 can hang.
/// @throws Error bad_data when x is not finite (pdgesvd hangs on infinities), agreed; internal when LAPACK fails.
LeftBasis left_basis(DistMatrix x);

/// Singular values, descending, of a matrix on a grid (values-only pdgesvd). `x` is consumed.
std::vector<double> singular_values(DistMatrix x);

/// Singular values, descending, of a row-major m x n matrix by serial LAPACK (dgesdd). Local.
std::vector<double> singular_values_local(std::vector<double> x, Index m, Index n);

/// c = a^T b for row-major a [m, ka], b [m, kb]; c row-major [ka, kb] (dgemm). Local.
void transposed_product_local(const double* a, const double* b, Index m, Index ka, Index kb, double* c);
/// c = a b^T for row-major a [ma, k], b [mb, k]; c row-major [ma, mb] (dgemm). Local.
void product_with_transpose_local(const double* a, const double* b, Index ma, Index mb, Index k, double* c);

/// "libtorch_cpu.so" or the like: the library that a BLAS or LAPACK symbol of this program comes from.
std::string library_of_symbol(const char* symbol);

} // namespace concord::linalg
