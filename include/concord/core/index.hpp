#pragma once
/// Index type and checked narrowing. Local.

#include "concord/core/error.hpp"

#include <cstdint>
#include <limits>

namespace concord {

/// Every count and position is a signed 64-bit number; only MPI and BLACS calls see int, through narrow_int.
using Index = std::int64_t;

/// x as int; throws ExitCode::internal naming `what` when it does not fit.
inline int narrow_int(Index x, const char* what) {
  require(x >= std::numeric_limits<int>::min() && x <= std::numeric_limits<int>::max(), ExitCode::internal,
          "{} = {} does not fit a 32-bit count", what, x);
  return static_cast<int>(x);
}

} // namespace concord
