#pragma once
/// A float64 matrix spread block-cyclically over a grid (ScaLAPACK's layout, column-major locally).

#include "concord/dist/partition.hpp"
#include "concord/linalg/blacs.hpp"

#include <array>
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

  /// Length of a column of the local part.
  Index leading() const { return descriptor_[8]; }

  /// Calls visit(i, j, element) for every owned element. Local.
  template <typename Visit>
  void for_each(const Visit& visit) {
    for_each_of(local_.data(), visit);
  }
  template <typename Visit>
  void for_each(const Visit& visit) const {
    for_each_of(local_.data(), visit);
  }
  /// Sets every owned element to value(i, j). Local.
  template <typename Value>
  void fill(const Value& value) {
    for_each([&](Index i, Index j, double& element) { element = value(i, j); });
  }
  /// The whole matrix, row-major, on every rank of the grid's communicator. Collective.
  std::vector<double> gather() const;
  /// Rows [begin, end), row-major; each rank may ask for others. A rank holds these and a piece of the whole. Collective.
  std::vector<double> rows(Index begin, Index end) const;

private:
  template <typename Element, typename Visit>
  void for_each_of(Element* elements, const Visit& visit) const {
    for (Index c = 0; c < local_cols_; ++c) {
      const Index j = cols_.global(c, grid_->col());
      for (Index r = 0; r < local_rows_; ++r) visit(rows_.global(r, grid_->row()), j, elements[c * leading() + r]);
    }
  }

  const Grid* grid_;
  dist::BlockCyclic rows_;
  dist::BlockCyclic cols_;
  Index local_rows_ = 0;
  Index local_cols_ = 0;
  Descriptor descriptor_{};
  std::vector<double> local_;
};

} // namespace concord::linalg
