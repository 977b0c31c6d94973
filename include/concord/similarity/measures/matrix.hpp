#pragma once
/// A matrix whose rows are compared with those of another: M items of width d. Local.

#include "concord/comm/node/node_floats.hpp"
#include "concord/core/index.hpp"

#include <vector>

namespace concord::similarity {

/// Row-major, as it was stored: decoders are float32, and stay so until they are worked on. Rows may be picked from an array, which many
/// matrices, and ranks of a node, share.
struct Matrix {
  Index rows = 0;
  Index cols = 0;
  std::vector<double> values;     ///< float64, or empty
  comm::NodeFloats singles = {};  ///< float32, or empty
  std::vector<Index> picked = {}; ///< row i is row picked[i] of the array; empty: row i

  /// Its place in the array.
  Index place(Index i) const { return picked.empty() ? i : picked[static_cast<std::size_t>(i)]; }
  double at(Index i, Index j) const {
    const auto element = static_cast<std::size_t>(place(i) * cols + j);
    return singles.empty() ? values[element] : static_cast<double>(singles[element]);
  }
  /// Rows [begin, begin + count) to `out`.
  void copy_rows(Index begin, Index count, double* out) const;
  /// The rows named, in that order, of the same array where that lies once a node, else copied.
  Matrix rows_of(const std::vector<Index>& order) const;
  /// Euclidean norms of the rows.
  std::vector<double> row_norms() const;
  /// The first row with a value that is not finite; -1: none.
  Index first_bad_row() const;
};

} // namespace concord::similarity
