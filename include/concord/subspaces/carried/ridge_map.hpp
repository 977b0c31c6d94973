#pragma once
/// An affine map from the rows of one residual stream to those of another by ridge regression, from moments alone. Local.
///
/// y = M x + b with M = S_xy^T (S_xx + s m I)^-1, S the covariances of the rows fitted on (divided by n), m the mean eigenvalue of S_xx, s
/// the strength; b lets the means meet. R^2 = 1 - sum ||y - M x - b||^2 / sum ||y - mean||^2 over all columns together, the mean that of
/// the rows measured on: 0 or less where the map says nothing.

#include "concord/core/index.hpp"

#include <vector>

namespace concord::subspaces {

/// Sums over pairs of rows x [dx] and y [dy].
struct PairMoments {
  PairMoments() = default;
  PairMoments(Index width_x, Index width_y);
  /// Adds n pairs of rows, x [n, dx] and y [n, dy].
  void add(const std::vector<double>& x, const std::vector<double>& y, Index n);

  Index dx = 0, dy = 0;
  double n = 0;
  std::vector<double> x, y;       ///< sums of rows
  std::vector<double> xx, xy, yy; ///< sums of products: [dx, dx], [dx, dy], [dy, dy]
};

struct AffineMap {
  Index dx = 0, dy = 0;
  std::vector<double> m; ///< [dy, dx]
  std::vector<double> b; ///< [dy]
};

/// Maps of any strength from one decomposition of S_xx.
class Ridge {
public:
  /// @throws Error bad_data: no rows, or moments that are not finite.
  explicit Ridge(const PairMoments& fit);
  /// @param strength >= 0; directions in which neither the rows nor the ridge has weight are mapped to 0
  AffineMap map(double strength) const;

private:
  Index dx_ = 0, dy_ = 0;
  std::vector<double> mean_x_, mean_y_;
  std::vector<double> values_;  ///< eigenvalues of S_xx, descending
  std::vector<double> vectors_; ///< [dx, dx], one a column
  std::vector<double> rotated_; ///< vectors^T S_xy, [dx, dy]
};

/// NaN where the rows measured on have no variance, or there are none.
double r_squared(const AffineMap& map, const PairMoments& of);

inline constexpr double ridge_strengths[] = {1e-5, 1e-4, 1e-3, 1e-2, 1e-1};
inline constexpr double usual_strength = 1e-3; ///< where there are no rows to choose on

struct ChosenMap {
  AffineMap map;
  double strength = usual_strength;
};
/// The map of the strength, among ridge_strengths, that has the largest R^2 on rows that it was not fitted on. @throws Error bad_data.
ChosenMap choose_map(const PairMoments& fit, const PairMoments& choose);

} // namespace concord::subspaces
