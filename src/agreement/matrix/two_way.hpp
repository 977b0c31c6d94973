#pragma once
/// Least squares on row and column effects where not all entries are there. Local.

#include "concord/core/index.hpp"

#include <vector>

namespace concord::agreement {

/// Which entries of a [C, C] matrix count: 1 or 0.
using Mask = std::vector<unsigned char>;

/// The model a_i + b_j on the entries of a mask.
class TwoWay {
public:
  TwoWay(Index concepts, const Mask& mask);
  Index entries() const { return entries_; }
  /// Of the design: rows with entries + columns with entries - parts that nothing connects.
  Index rank() const { return rank_; }
  /// values - fit on the mask, 0 elsewhere; `values` is not looked at there.
  void take_out(std::vector<double>& values) const;

private:
  void factorise();
  void solve(std::vector<double>& x) const;
  Index c_;
  const Mask* mask_; ///< outlives this
  Index entries_ = 0;
  Index rank_ = 0;
  std::vector<double> in_row_; ///< entries
  std::vector<double> in_column_;
  std::vector<double> factor_; ///< Cholesky of the columns' normal equations after rows; a zero pivot is a column that others fix
};

} // namespace concord::agreement
