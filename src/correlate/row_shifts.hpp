#pragma once
// By how many rows one model is shifted against the other: what chance gives. Local.

#include "concord/core/index.hpp"

#include <algorithm>
#include <functional>
#include <vector>

namespace concord::correlate {

/// Where the text of a model may be cut, so that the text of a document stays beside the text of one document: whole documents (else
/// contexts) where their starts are known, any row where none are. `counted`: the counted rows before a start.
struct Cuts {
  Index rows;
  const std::vector<Index>& starts;
  std::function<Index(Index)> counted;
  /// The cut that is nearest to a row.
  Index nearest(Index row) const {
    if (starts.empty()) return row;
    const auto next = std::partition_point(starts.begin(), starts.end(), [&](Index start) { return counted(start) < row; });
    const Index above = counted(next == starts.end() ? starts.back() : *next);
    const Index below = counted(next == starts.begin() ? starts.front() : next[-1]);
    return above - row < row - below && above < rows ? above : below;
  }
};

/// Rows by which B is shifted against A: as far apart as can be.
inline std::vector<Index> null_shifts(Index shifts, const Cuts& cuts) {
  std::vector<Index> result;
  for (Index s = 1; s <= shifts; ++s) {
    const Index shift = cuts.nearest(s * cuts.rows / (shifts + 1));
    if (shift > 0 && shift < cuts.rows && std::find(result.begin(), result.end(), shift) == result.end()) result.push_back(shift);
  }
  return result;
}

/// The same of models that are moved by shares of the rows each.
inline Index shift_between(double share_a, double share_b, const Cuts& cuts) {
  const auto cut = [&](double share) { return share > 0 ? cuts.nearest(static_cast<Index>(share * static_cast<double>(cuts.rows))) : 0; };
  return (cut(share_b) - cut(share_a) + cuts.rows) % cuts.rows;
}

} // namespace concord::correlate
