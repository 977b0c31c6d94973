#pragma once
/// What chance gives, in closed form: means, standard deviations and skewness of scores when rows of Y are permuted at random. Local.
///
/// Sources: the Wachter law of canonical correlations (Wachter 1980; the multivariate beta ensemble); moments of the RV coefficient under
/// permutation (Kazi-Aoual et al. 1995, Josse et al. 2008); Mantel (1967) for sums over pairs of items; zonal polynomials (Muirhead 1982)
/// for random subspaces; Pearson's law III for what lies between three moments and a tail.

#include "concord/core/index.hpp"

#include <limits>
#include <vector>

namespace concord::similarity {

struct Moments {
  double mean = 0;
  double sd = 0;
  double skew = std::numeric_limits<double>::quiet_NaN(); ///< third central moment / sd^3; NaN: not known
};

/// P(X >= score) of the Pearson law III (a shifted gamma law, or its mirror image) that has these moments; NaN without all three.
double upper_tail(const Moments& moments, double score);

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
  // For the skewness alone; NaN: not known.
  double cubes = std::numeric_limits<double>::quiet_NaN();            ///< tr W^3
  double diagonal_cubes = std::numeric_limits<double>::quiet_NaN();   ///< sum of W_ii^3
  double entry_cubes = std::numeric_limits<double>::quiet_NaN();      ///< sum of W_ij^3
  double diagonal_squares = std::numeric_limits<double>::quiet_NaN(); ///< sum of W_ii (W^2)_ii
  double diagonal_form = std::numeric_limits<double>::quiet_NaN();    ///< sum of W_ii W_ij W_jj
};
/// The skewness needs m >= 6.
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

/// Skewness of the same sum of two matrices [m, m] given whole, m >= 6: exact, in m^3 operations.
double mantel_skewness(Index m, const std::vector<double>& a, const std::vector<double>& b);

} // namespace concord::similarity
