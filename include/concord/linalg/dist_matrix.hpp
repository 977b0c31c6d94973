#pragma once
/// A float64 matrix spread block-cyclically over a grid (ScaLAPACK's layout, column-major locally).

#include "concord/dist/partition.hpp"
#include "concord/linalg/blacs.hpp"

#include <array>
#include <functional>
#include <vector>

namespace concord::linalg {

using Descriptor = std::array<int, 9>;

class DistMatrix {
public:
  /// An m x n matrix of zeros in square blocks of `block`. Collective over the grid. @throws Error unavailable when a
  /// rank's part has 2^31 elements or more (ScaLAPACK counts in 32 bits): use more ranks.
  DistMatrix(const Grid& grid, Index m, Index n, Index block = 64);
  Index m() const { return rows_.n; }
  Index n() const { return cols_.n; }
  Index block() const { return rows_.block; }
  const Grid& grid() const { return *grid_; }
  const Descriptor& descriptor() const { return descriptor_; }
  Descriptor& descriptor() { return descriptor_; }
  std::vector<double>& local() { return local_; }
  const std::vector<double>& local() const { return local_; }

  /// Sets every owned element to value(i, j). Local.
  void fill(const std::function<double(Index, Index)>& value);
  /// Calls visit(i, j, element) for every owned element. Local.
  void for_each(const std::function<void(Index, Index, double&)>& visit);
  void for_each(const std::function<void(Index, Index, double)>& visit) const;
  /// The whole matrix, row-major, on every rank of the grid's communicator. Collective.
  std::vector<double> gather() const;

private:
  const Grid* grid_;
  dist::BlockCyclic rows_;
  dist::BlockCyclic cols_;
  Index local_rows_ = 0;
  Index local_cols_ = 0;
  Descriptor descriptor_{};
  std::vector<double> local_;
};

} // namespace concord::linalg
