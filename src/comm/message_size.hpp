#pragma once
/// How much one message carries. Local.

#include "concord/core/index.hpp"

namespace concord::comm {

/// The most elements of a message: MPI's counts are 32-bit, and 2^28 elements of 8 bytes stay below 2 GiB. Tests make it small, the same on
/// every rank.
inline Index most_a_message = Index{1} << 28;

} // namespace concord::comm
