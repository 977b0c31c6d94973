#pragma once
/// Kinds of rows, read range by range: nobody holds those of all rows. Local.

#include "concord/core/index.hpp"

#include <cstdint>
#include <functional>
#include <vector>

namespace concord::io {

/// Kind of a row (token), as activations and features carry it. unpaired: of text, but the other models of the study have no token that
/// ends where this one does.
enum class RowKind : std::uint8_t { text = 0, bos = 1, unpaired = 2 };

inline bool is_bos(std::uint8_t kind) {
  return kind == static_cast<std::uint8_t>(RowKind::bos);
}

/// Whether models are compared on a row; those of BOS where `keep_special`.
inline bool is_counted(std::uint8_t kind, bool keep_special) {
  return kind == static_cast<std::uint8_t>(RowKind::text) || (keep_special && is_bos(kind));
}

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
