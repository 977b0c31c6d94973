#pragma once
/// The grid of ranks that a pair of layers is shared by. Local.

#include "correlate/shares/feature_share.hpp"
#include <algorithm>

namespace concord::correlate {

/// Nanoseconds that a rank of a grid takes for a row: what it adds up (fitted to measured shares, docs/performance.md) and what it is sent
/// (assumed). Rows of B cost the less an entry the longer they are, so columns only pay where B's rows have to be sent to many nodes.
/// @param active_a, active_b  features of a row
inline double nanoseconds_a_row(const ShareGrid& grid, int on_node, double active_a, double active_b) {
  constexpr double posting = 33, entry = 1.45, byte = 1;
  const double of_a = active_a / grid.rows;
  const double of_b = active_b / grid.columns;
  return of_a * (posting + entry * of_b) + 12 * byte * (of_a + of_b / std::min(on_node, grid.rows));
}

/// The grid that takes the least time; of two such the one with fewer columns.
inline ShareGrid fastest_grid(int ranks, int on_node, double active_a, double active_b) {
  ShareGrid best{ranks, 1};
  for (int columns = 2; columns <= ranks; ++columns) {
    const ShareGrid grid{ranks / columns, columns};
    if (ranks % columns == 0 && nanoseconds_a_row(grid, on_node, active_a, active_b) < nanoseconds_a_row(best, on_node, active_a, active_b))
      best = grid;
  }
  return best;
}

} // namespace concord::correlate
