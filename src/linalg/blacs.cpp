#include "concord/linalg/blacs.hpp"

#include "concord/core/error.hpp"

#include "linalg/scalapack.hpp"
#include <cmath>
#include <map>
#include <numeric>
#include <vector>

namespace concord::linalg {
namespace {

/// BLACS keeps a table of communicators that renumbers itself when entries are freed, and leaks when they are not: one
/// handle a communicator for the whole run.
int system_handle(MPI_Comm comm) {
  static std::map<MPI_Comm, int> handles;
  const auto found = handles.find(comm);
  if (found != handles.end()) return found->second;
  return handles[comm] = Csys2blacs_handle(comm);
}

int squarest_rows(int ranks) {
  int rows = static_cast<int>(std::sqrt(static_cast<double>(ranks)));
  while (ranks % rows != 0) --rows;
  return rows;
}

} // namespace

Grid::Grid(const comm::Communicator& comm) : Grid(comm, squarest_rows(comm.size()), comm.size() / squarest_rows(comm.size())) {}

Grid::Grid(const comm::Communicator& comm, int rows, int cols) : comm_(comm), rows_(rows), cols_(cols) {
  require(rows > 0 && cols > 0 && rows * cols <= comm.size(), ExitCode::internal, "a {} x {} grid does not fit {} ranks", rows, cols,
          comm.size());
  std::vector<int> ranks(static_cast<std::size_t>(rows) * static_cast<std::size_t>(cols)); // column-major table: rank = row * cols + col
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < cols; ++c)
      ranks.at(static_cast<std::size_t>(c) * static_cast<std::size_t>(rows) + static_cast<std::size_t>(r)) = r * cols + c;
  int context = system_handle(comm);
  Cblacs_gridmap(&context, ranks.data(), rows, rows, cols);
  const bool inside = comm.rank() < rows * cols;
  context_ = inside ? context : -1;
  if (inside) {
    int got_rows = 0;
    int got_cols = 0;
    Cblacs_gridinfo(context_, &got_rows, &got_cols, &row_, &col_);
  }
}

Grid::~Grid() {
  if (context_ >= 0) Cblacs_gridexit(context_);
}

} // namespace concord::linalg
