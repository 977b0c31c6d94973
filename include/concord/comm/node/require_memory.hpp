#pragma once
/// Refuses work that does not fit, before its memory is taken. Collective over `comm`.

#include "concord/comm/session.hpp"
#include "concord/core/machine/memory_plan.hpp"

#include <functional>
#include <string>

namespace concord::comm {

/// What the ranks of each node take by `plan`, items that may be less left out, must be free there. Where `comm` is one of several groups,
/// its ranks may take the part of what is free that falls to them. `advice`: what to set, of the array that takes most of the node.
/// @throws Error unavailable naming that array; agreed.
void require_memory(const Communicator& comm, const MemoryPlan& plan, const std::function<std::string(const MemoryItem& largest)>& advice);
/// The same whichever array takes most.
void require_memory(const Communicator& comm, const MemoryPlan& plan, const std::string& advice);

} // namespace concord::comm
