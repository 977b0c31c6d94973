#include "concord/features/piece_windows.hpp"

#include <gtest/gtest.h>

using namespace concord;
using features::PieceWindows;

namespace {

std::vector<std::pair<Index, Index>> pieces_of(const PieceWindows& windows) {
  std::vector<std::pair<Index, Index>> pieces;
  for (Index w = 0; w < windows.count(); ++w) windows.for_pieces(w, [&](Index begin, Index end) { pieces.emplace_back(begin, end); });
  return pieces;
}

} // namespace

TEST(PieceWindows, ArePiecesOfBlocks) {
  const PieceWindows windows({0, 3000, 3100, 7196}, 7196);
  EXPECT_EQ(pieces_of(windows), (std::vector<std::pair<Index, Index>>{{0, 2048}, {2048, 3000}, {3000, 3100}, {3100, 5148}, {5148, 7196}}));
  EXPECT_EQ(windows.first_row(windows.count()), 7196);
}

TEST(PieceWindows, OfManyRowsHoldSeveralPieces) {
  const Index rows = Index{200'000} * features::rows_a_piece + 1;
  const PieceWindows windows({0, rows}, rows);
  EXPECT_LE(windows.count(), 1 << 17);
  const auto pieces = pieces_of(windows);
  EXPECT_EQ(pieces.size(), 200'001U);
  for (std::size_t i = 1; i < pieces.size(); ++i) ASSERT_EQ(pieces[i].first, pieces[i - 1].second);
  EXPECT_EQ(pieces.back(), std::make_pair(rows - 1, rows));
}

TEST(PieceWindows, WithoutThoseThatAreThere) {
  const PieceWindows windows({0, 10 * features::rows_a_piece}, 10 * features::rows_a_piece);
  EXPECT_EQ(windows.without([](Index first_row) { return first_row != 3 * features::rows_a_piece; }), std::vector<Index>{3});
  EXPECT_EQ(PieceWindows({0}, 0).count(), 0);
}
