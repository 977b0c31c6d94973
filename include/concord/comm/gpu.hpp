#pragma once
/// Which GPU a rank owns.

#include "concord/comm/session.hpp"

#include <string>

namespace concord::comm {

struct Gpu {
  int number = -1;   ///< among those this rank sees; -1: none, the rank computes on the CPU
  std::string uuid;  ///< names the device wherever it is seen from
  double memory = 0; ///< bytes free on it
  int sharing = 1;   ///< ranks that have it
};

/// The GPU of this rank by its number on the node, or none. `device`: "cpu", "cuda" or "auto" (a GPU when there is one).
/// Ranks that would share a device are refused unless `allow_shared`. Collective over `comm`.
/// @throws Error config, or unavailable when "cuda" is asked for and there is no GPU, or too few; agreed.
Gpu bind_gpu(const Communicator& comm, const std::string& device, bool allow_shared);

} // namespace concord::comm
