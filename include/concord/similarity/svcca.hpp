#pragma once
/// SVCCA (Raghu et al. 2017) of two matrices with matched rows, on ScaLAPACK. Collective over `comm`.
///
///   X [M, d1], Y [M, d2]: centre columns; X = U S V^T; keep the first k with variance >= the cut; rho = svd(Ux^T Uy);
///   score = mean of the min(k1, k2) canonical correlations rho.
///
/// High-level algorithm: X = Q R (pdgeqrf); R = Ur S V^T (pdgesvd, d x d); U = Q Ur (pdormqr); C = Ux^T Uy (pdgemm);
/// rho = svd(C) (pdgesvd, values only). A shuffled pairing permutes the rows of Uy alone: no new decomposition of the data.

#include "concord/similarity/measure.hpp"

namespace concord::similarity {

struct SvccaOptions {
  double variance = 0.99; ///< share of the summed squared singular values to keep
  Index k = 0;            ///< keep exactly k instead (at most the numerical rank); 0: by variance
};

struct SvccaSide {
  Index k = 0;                  ///< components kept
  Index rank = 0;               ///< numerical rank: singular values above max(M, d) eps s_1
  double variance_at_k = 0;     ///< share kept with k components
  double variance_before_k = 0; ///< share kept with k - 1
};

struct Svcca {
  Measure measure;
  SvccaSide x;
  SvccaSide y;
  Index forced_ones = 0; ///< canonical correlations that are 1 for any data: max(0, k1 + k2 - (M - 1))
};

/// Undefined when M - 1 <= max(k1, k2) (every score is 1 then) or a side has no variance.
/// @throws Error bad_data when values are not finite or the rows differ in number (agreed).
Svcca svcca(const comm::Communicator& comm, const Matrix& x, const Matrix& y, const SvccaOptions& options, Index permutations,
            std::uint64_t seed);

/// Components to keep: the least k whose share of variance reaches the cut, at most rank.
SvccaSide cut(const std::vector<double>& singular_values, Index rank, const SvccaOptions& options);

} // namespace concord::similarity
