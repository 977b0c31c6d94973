#pragma once
/// Subspaces of a concept and how two of them lie to each other; linear removal of a concept (LEACE). Local. Matrices are row-major; a
/// basis [d, k] has its directions as columns.

#include "concord/core/index.hpp"

#include <limits>
#include <vector>

namespace concord::agreement {

struct Basis {
  Index d = 0;
  Index k = 0;
  std::vector<double> u;     ///< [d, k], orthonormal columns
  double variance_share = 0; ///< of the summed squared singular values, kept
  /// What a removal reads the coefficients off, [d, k], where that is not u: x - u read^T (x - mu), an oblique projection; empty: u.
  std::vector<double> read{};
};

/// The first k left singular vectors of x [d, n] (columns are decoder rows or means of phrases, not centred here), fewer where its
/// numerical rank is less (singular values above max(d, n) eps of the largest). @throws Error bad_data: a value is not finite.
Basis leading_subspace(const std::vector<double>& x, Index d, Index n, Index k);

/// Angles between two subspaces, min(k, l) of them, descending, in radians: from cosines, and where these are near 1 from sines (Knyazev
/// and Argentati 2002), as scipy.linalg.subspace_angles. @throws Error internal: different d.
std::vector<double> principal_angles(const Basis& u, const Basis& v);
/// ||U^T V||_F^2 / min(k, l), in [0, 1]. NaN where one is empty.
double overlap(const Basis& u, const Basis& v);
/// (o - max(k, l) / d) / (1 - max(k, l) / d): 0 for random subspaces, 1 where one holds the other. NaN where max(k, l) = d.
double overlap_excess(const Basis& u, const Basis& v);

/// Two classes of rows [n, d].
struct LabelledRows {
  Index d = 0;
  std::vector<double> rows;
  std::vector<unsigned char> in_class; ///< [n], 1 or 0
};
/// Mean of the class - mean of the rest. @throws Error bad_data: a class is empty, or a value is not finite.
std::vector<double> difference_of_means(const LabelledRows& data);

struct Lda {
  std::vector<double> direction; ///< S_w^+ (mean of the class - mean of the rest), not scaled
  double shrinkage = 0;          ///< Ledoit-Wolf's, where n < 5 d; else 0
  Index cut = 0;                 ///< eigenvalues of S_w that count as 0
};
/// S_w: pooled covariance within classes, divided by n; eigenvalues below `least` of the largest are cut.
Lda lda(const LabelledRows& data, double least = 1e-6);

struct Covariance {
  std::vector<double> matrix; ///< [d, d]
  double shrinkage = 0;
};
/// (1 - s) S + s tr(S) / d I with the s of Ledoit and Wolf 2004, as sklearn.covariance.LedoitWolf; S of rows [n, d], divided by n;
/// `centred`: their means are 0 already.
Covariance ledoit_wolf(const std::vector<double>& rows, Index n, Index d, bool centred = false);

struct Whitening {
  Index d = 0;
  Index cut = 0;                ///< eigenvalues below `least` of the largest, whose directions become 0
  std::vector<double> whiten;   ///< [d, d], (S^1/2)^+
  std::vector<double> unwhiten; ///< [d, d], S^1/2 on what is kept: the pseudo-inverse of `whiten`
};
/// Of a covariance matrix [d, d]. With fewer rows than dimensions it blows up noise: shrink it first.
Whitening whitening(const std::vector<double>& covariance, Index d, double least = 1e-6);
/// An orthonormal basis of whiten times the basis.
Basis whitened(const Basis& basis, const Whitening& whitening);

} // namespace concord::agreement
