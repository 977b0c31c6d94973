#pragma once
/// Distributed products, QR and SVD on ScaLAPACK. Collective over the grid's communicator unless a function says otherwise.

#include "concord/linalg/dist_matrix.hpp"

namespace concord::linalg {

/// a^T b of equally tall matrices on one grid (pdgemm).
DistMatrix transposed_product(const DistMatrix& a, const DistMatrix& b);

/// Subtracts each column's mean over the m rows of all ranks from this rank's rows [rows / d, d], row-major, in two passes: the second
/// removes what rounding left of the mean. Collective over `comm`.
void centre_columns(const comm::Communicator& comm, std::vector<double>& rows, Index m, Index d);

/// The left singular basis U = q rotation of a matrix.
struct LeftBasis {
  std::vector<double> singular_values; ///< descending, all min(m, n) of them
  Index rank = 0;                      ///< singular values above max(m, n) eps s_1
  DistMatrix q;                        ///< [m, min(m, n)]
  std::vector<double> rotation;        ///< [n, n] row-major, orthogonal, on every rank; empty: U is q
};

/// QR route: x = Q R (pdgeqrf, pdorgqr), R = U S V^T (pdgesvd, n x n): the left basis is Q U. U is left beside Q, since d x d products with
/// it cost less than forming Q U. A wide x (m < n) goes straight to pdgesvd. On one rank, and below two blocks or one column a rank, where
/// pdgesvd of ScaLAPACK 2.2.1 can hang or fail, LAPACK does the same. `x` is consumed.
/// @throws Error bad_data when x is not finite (pdgesvd hangs on infinities), agreed; internal when LAPACK fails.
LeftBasis left_basis(DistMatrix x);

/// pdgesvd of the whole matrix, q = U: the reference for left_basis. `x` is consumed. @throws as left_basis.
LeftBasis left_basis_whole(DistMatrix x);

/// Singular values, descending, of a matrix on a grid (values-only pdgesvd). `x` is consumed.
std::vector<double> singular_values(DistMatrix x);

/// Singular values above max(m, n) eps s_1. Local.
Index numerical_rank(const std::vector<double>& singular_values, Index m, Index n);

/// "libtorch_cpu.so" or the like: the library that a BLAS or LAPACK symbol of this program comes from. Local.
std::string library_of_symbol(const char* symbol);

} // namespace concord::linalg
