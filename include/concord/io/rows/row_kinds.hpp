#pragma once
/// Kinds of rows (corpus::RowKind), read range by range: nobody holds those of all rows. Local.

#include "concord/core/index.hpp"

#include <cstdint>
#include <functional>
#include <vector>

namespace concord::io {

/// The kinds of rows [begin, end).
using RowKinds = std::function<std::vector<std::uint8_t>(Index begin, Index end)>;

/// Calls visit(row, kind) for rows 0 to `rows`, in order, until it returns false.
template <typename Visit>
void for_row_kinds(const RowKinds& kinds, Index rows, const Visit& visit) {
  constexpr Index piece = Index{1} << 18;
  for (Index begin = 0; begin < rows; begin += piece) {
    Index row = begin;
    for (const std::uint8_t kind : kinds(begin, begin + piece < rows ? begin + piece : rows))
      if (!visit(row++, kind)) return;
  }
}

} // namespace concord::io
