#pragma once
/// How `encode` groups rows: a piece is one matrix product, a window of pieces is one unit of work. Local.

#include "concord/core/index.hpp"

#include <functional>
#include <vector>

namespace concord::features {

/// Largest number of rows in one product. The bits of the codes do not depend on it: each kept latent is computed by itself.
inline constexpr Index rows_a_piece = 2048;

/// The rows of blocks in pieces, and the pieces in windows. `encode` deals windows to ranks, and a stop keeps or loses a window as a whole.
/// A window holds pieces / 2^16 pieces, from 1 to 64: so up to 2^33 rows there are fewer than 2^17 windows, however long the file. Local.
class PieceWindows {
public:
  PieceWindows() = default;
  PieceWindows(const std::vector<Index>& block_offsets, Index rows);
  Index rows() const { return first_rows_.back(); }
  Index count() const { return (pieces() + pieces_a_window_ - 1) / pieces_a_window_; }
  /// First row of a window; for the window after the last, the number of rows.
  Index first_row(Index window) const;
  /// Calls visit(begin, end) for the rows of each piece of a window, in order.
  void for_pieces(Index window, const std::function<void(Index begin, Index end)>& visit) const;
  /// The windows for which `there(first row)` is false.
  std::vector<Index> without(const std::function<bool(Index first_row)>& there) const;

private:
  Index pieces() const { return static_cast<Index>(first_rows_.size()) - 1; }
  std::vector<Index> first_rows_ = {0}; ///< of each piece, and the end
  Index pieces_a_window_ = 1;
};

} // namespace concord::features
