#pragma once
/// A matrix whose rows are compared with those of another: M items of width d. Local.

#include "concord/core/index.hpp"

#include <vector>

namespace concord::similarity {

/// Row-major, as it was stored: decoders are float32, and stay so until they are worked on.
struct Matrix {
  Index rows = 0;
  Index cols = 0;
  std::vector<double> values;      ///< float64, or empty
  std::vector<float> singles = {}; ///< float32, or empty

  double at(Index i, Index j) const {
    const auto place = static_cast<std::size_t>(i * cols + j);
    return singles.empty() ? values[place] : static_cast<double>(singles[place]);
  }
  /// Rows [begin, begin + count) to `out`.
  void copy_rows(Index begin, Index count, double* out) const;
  /// The rows named, in that order.
  Matrix rows_of(const std::vector<Index>& order) const;
  /// Euclidean norms of the rows.
  std::vector<double> row_norms() const;
  /// The first row with a value that is not finite; -1: none.
  Index first_bad_row() const;
};

} // namespace concord::similarity
