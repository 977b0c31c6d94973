#pragma once
/// BLACS process grids with RAII. Collective over the communicator they are made from.

#include "concord/comm/session.hpp"

namespace concord::linalg {

/// A rows x cols grid over the first rows * cols ranks of `comm`; further ranks are outside (active() is false) but take
/// part in making it. The grid must be destroyed before MPI ends; its communicator must outlive it.
class Grid {
public:
  /// The squarest grid of all ranks with rows <= cols.
  explicit Grid(const comm::Communicator& comm);
  Grid(const comm::Communicator& comm, int rows, int cols);
  ~Grid();
  Grid(const Grid&) = delete;
  Grid& operator=(const Grid&) = delete;

  bool active() const { return context_ >= 0; }
  int context() const { return context_; }
  int rows() const { return rows_; }
  int cols() const { return cols_; }
  int row() const { return row_; }
  int col() const { return col_; }
  const comm::Communicator& comm() const { return comm_; }

private:
  comm::Communicator comm_;
  int context_ = -1;
  int rows_ = 1;
  int cols_ = 1;
  int row_ = -1;
  int col_ = -1;
};

} // namespace concord::linalg
