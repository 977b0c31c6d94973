#pragma once
/// SVCCA (Raghu et al. 2017), its squared form, its first component alone, and PWCCA (Morcos et al. 2018). Local.
///
///   X [M, d1], Y [M, d2], matched rows, centred columns; X = U S V^T; keep the first k with variance >= the cut;
///   rho = singular values of C = Ux^T Uy; svcca = mean of the min(k1, k2) canonical correlations rho.

#include "concord/similarity/settings.hpp"

#include <vector>

namespace concord::similarity {

struct SvccaSide {
  Index k = 0;                  ///< components kept
  Index rank = 0;               ///< numerical rank: singular values above max(M, d) eps s_1
  double variance_at_k = 0;     ///< share kept with k components
  double variance_before_k = 0; ///< share kept with k - 1
};

/// Components to keep: the least k whose share of variance reaches the cut, at most rank.
SvccaSide cut(const std::vector<double>& singular_values, Index rank, const SvccaOptions& options);

/// Mean of canonical correlations.
double svcca(const std::vector<double>& correlations);
/// Mean of squared canonical correlations ||C||^2 / min(k1, k2), C [k1, k2] (Yanai's measure; R^2_CCA).
double svcca_squared(const std::vector<double>& c, Index k1, Index k2);
/// What published code computes under the name SVCCA, by a cut that compares a share with an unnormalised total: |r| of the two first
/// principal components.
double svcca_rank1(const std::vector<double>& c);

/// Canonical correlations weighted by how much of the view with fewer components each accounts for: sum_j |<h_i, x_j>| for its canonical
/// variables h_i. C [k1, k2]; `loadings` = Ux^T X [k1, d1] where k1 <= k2, else Uy^T Y [k2, d2].
double pwcca(const std::vector<double>& c, Index k1, Index k2, const std::vector<double>& loadings, Index d);

/// Canonical correlations that are 1 for any data: max(0, k1 + k2 - (M - 1)).
Index forced_ones(Index m, Index k1, Index k2);

} // namespace concord::similarity
