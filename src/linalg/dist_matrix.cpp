#include "concord/linalg/dist_matrix.hpp"

#include "concord/comm/collectives.hpp"

#include <algorithm>
#include <limits>

namespace concord::linalg {

DistMatrix::DistMatrix(const Grid& grid, Index m, Index n, Index block)
    : grid_(&grid), rows_{m, block, grid.rows()}, cols_{n, block, grid.cols()} {
  if (grid.active()) {
    local_rows_ = rows_.size(grid.row());
    local_cols_ = cols_.size(grid.col());
  }
  const Index leading = std::max<Index>(1, local_rows_);
  require(leading * std::max<Index>(1, local_cols_) < std::numeric_limits<int>::max(), ExitCode::unavailable,
          "a rank's part of a {} x {} matrix has 2^31 elements or more; start more ranks", m, n);
  local_.assign(static_cast<std::size_t>(leading * std::max<Index>(1, local_cols_)), 0.0);
  descriptor_ = {1,
                 grid.context(),
                 narrow_int(m, "rows"),
                 narrow_int(n, "columns"),
                 narrow_int(block, "block"),
                 narrow_int(block, "block"),
                 0,
                 0,
                 narrow_int(leading, "leading dimension")};
}

std::vector<double> DistMatrix::gather() const {
  std::vector<double> all(static_cast<std::size_t>(m() * n()), 0.0);
  for_each([&](Index i, Index j, double value) { all[static_cast<std::size_t>(i * n() + j)] = value; });
  comm::sum(grid_->comm(), all); // every element has one owner, the others add exact zeros
  return all;
}

std::vector<double> DistMatrix::rows(Index begin, Index end) const {
  constexpr Index elements_a_piece = Index{1} << 24;
  const Index step = std::max<Index>(1, elements_a_piece / std::max<Index>(1, n()));
  std::vector<double> mine;
  mine.reserve(static_cast<std::size_t>((end - begin) * n()));
  for (Index first = 0; first < m(); first += step) {
    const Index last = std::min(m(), first + step);
    std::vector<double> piece(static_cast<std::size_t>((last - first) * n()), 0.0);
    for_each([&](Index i, Index j, double value) {
      if (i >= first && i < last) piece[static_cast<std::size_t>((i - first) * n() + j)] = value;
    });
    comm::sum(grid_->comm(), piece); // every element has one owner, the others add exact zeros
    const Index from = std::max(begin, first);
    const Index to = std::min(end, last);
    if (from < to) mine.insert(mine.end(), piece.begin() + (from - first) * n(), piece.begin() + (to - first) * n());
  }
  return mine;
}

} // namespace concord::linalg
