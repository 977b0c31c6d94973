#include "concord/features/piece_windows.hpp"

#include "concord/core/at.hpp"

#include <algorithm>

namespace concord::features {
namespace {

constexpr Index windows_wanted = Index{1} << 16;
constexpr Index most_pieces_a_window = 64;

} // namespace

PieceWindows::PieceWindows(const std::vector<Index>& block_offsets, Index rows) {
  first_rows_.clear();
  for (std::size_t b = 0; b + 1 < block_offsets.size(); ++b)
    for (Index begin = block_offsets[b]; begin < block_offsets[b + 1]; begin += rows_a_piece) first_rows_.push_back(begin);
  first_rows_.push_back(rows);
  pieces_a_window_ = std::clamp<Index>(pieces() / windows_wanted, 1, most_pieces_a_window);
}

Index PieceWindows::first_row(Index window) const {
  return first_rows_[at(std::min(window * pieces_a_window_, pieces()))];
}

void PieceWindows::for_pieces(Index window, const std::function<void(Index, Index)>& visit) const {
  const Index end = std::min((window + 1) * pieces_a_window_, pieces());
  for (Index piece = window * pieces_a_window_; piece < end; ++piece) visit(first_rows_[at(piece)], first_rows_[at(piece + 1)]);
}

std::vector<Index> PieceWindows::without(const std::function<bool(Index)>& there) const {
  std::vector<Index> missing;
  for (Index window = 0; window < count(); ++window)
    if (!there(first_row(window))) missing.push_back(window);
  return missing;
}

} // namespace concord::features
