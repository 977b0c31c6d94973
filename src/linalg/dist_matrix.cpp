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

void DistMatrix::for_each(const std::function<void(Index, Index, double&)>& visit) {
  const Index leading = descriptor_[8];
  for (Index c = 0; c < local_cols_; ++c)
    for (Index r = 0; r < local_rows_; ++r)
      visit(rows_.global(r, grid_->row()), cols_.global(c, grid_->col()), local_[static_cast<std::size_t>(c * leading + r)]);
}

void DistMatrix::for_each(const std::function<void(Index, Index, double)>& visit) const {
  const_cast<DistMatrix*>(this)->for_each([&](Index i, Index j, double& value) { visit(i, j, value); });
}

void DistMatrix::fill(const std::function<double(Index, Index)>& value) {
  for_each([&](Index i, Index j, double& element) { element = value(i, j); });
}

std::vector<double> DistMatrix::gather() const {
  std::vector<double> all(static_cast<std::size_t>(m() * n()), 0.0);
  for_each([&](Index i, Index j, double value) { all[static_cast<std::size_t>(i * n() + j)] = value; });
  comm::sum(grid_->comm(), all); // every element has one owner, the others add exact zeros
  return all;
}

} // namespace concord::linalg
