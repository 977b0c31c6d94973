#pragma once
// Workspaces of LAPACK and ScaLAPACK routines. Local.

#include "concord/core/error.hpp"

#include <cmath>
#include <limits>
#include <vector>

namespace concord::linalg {

/// A queried size, a little larger than asked: queries of some releases round down.
inline int workspace_size(const char* name, double query) {
  const double wanted = std::ceil(query * (1 + 1e-6)) + 64;
  require(wanted >= 0 && wanted < std::numeric_limits<int>::max(), ExitCode::unavailable,
          "{} needs a workspace of {} numbers; start more ranks", name, wanted);
  return static_cast<int>(wanted);
}

/// Calls `routine(work, lwork)` with the workspace that it asks for.
template <typename Routine>
void with_workspace(const char* name, const Routine& routine) {
  double query = 0;
  int info = routine(&query, -1);
  require(info == 0, ExitCode::internal, "{} refused its workspace query (info {})", name, info);
  const int size = workspace_size(name, query);
  std::vector<double> work(static_cast<std::size_t>(size));
  info = routine(work.data(), size);
  require(info == 0, ExitCode::internal, "{} failed (info {})", name, info);
}

} // namespace concord::linalg
