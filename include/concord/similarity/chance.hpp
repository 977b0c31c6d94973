#pragma once
/// What chance gives, in closed form: means and standard deviations of scores when rows of Y are permuted at random. Local.
///
/// Sources: the Wachter law of canonical correlations (Wachter 1980; the multivariate beta ensemble); moments of the RV coefficient under
/// permutation (Kazi-Aoual et al. 1995, Josse et al. 2008); Mantel (1967) for sums over pairs of items.

#include "concord/core/index.hpp"

#include <vector>

namespace concord::similarity {

struct Moments {
  double mean = 0;
  double sd = 0;
};

/// Mean canonical correlation of independent subspaces of dimension k1 and k2 among n: the mean of sqrt(lambda) under the Wachter law,
/// with its share of ones where k1 + k2 > n. For M centred rows n = M - 1.
double wachter_mean(Index n, Index k1, Index k2);

/// |r| of two independent vectors of m centred numbers.
Moments absolute_correlation(Index m);

/// What moments of ||X^T P Y||^2 / (||X^T X|| ||Y^T Y||) need of one side W = X X^T, X centred.
struct GramMoments {
  double trace = 0;    ///< tr W
  double squares = 0;  ///< tr W^2
  double diagonal = 0; ///< sum of W_ii^2; NaN: not known, and no standard deviation
};
Moments rv_moments(Index m, const GramMoments& x, const GramMoments& y);

/// Mean over i of squared canonical correlations, min(k1, k2) of them, of two random subspaces of R^d.
Moments random_subspaces(Index d, Index k1, Index k2);

/// What Mantel's moments need of one symmetric matrix without its diagonal: sums over ordered pairs i != j.
struct PairSums {
  double total = 0;       ///< sum of a_ij
  double squares = 0;     ///< sum of a_ij^2
  double row_squares = 0; ///< sum over i of (sum over j of a_ij)^2
};
/// Of sum_{i != j} a_ij b_{pi(i) pi(j)}; m >= 4.
Moments mantel_moments(Index m, const PairSums& a, const PairSums& b);

/// P(Z >= z) of a standard normal.
double normal_tail(double z);

} // namespace concord::similarity
