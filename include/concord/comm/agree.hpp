#pragma once
/// Fail together: what goes wrong on one rank is thrown on all of them, so that nobody waits for ever.

#include "concord/comm/session.hpp"

#include <functional>

namespace concord::comm {

/// Runs `local` on every rank; if it throws on any, every rank throws the error of the lowest failing rank (agreed).
/// Collective over `comm`. `local` itself must not communicate.
void agree(const Communicator& comm, const std::function<void()>& local);

/// Groups of the ranks of `comm` work side by side, each collectively: what one group agreed to throw is thrown on all ranks, so that no
/// group waits for another. Errors that a group did not agree on go on as they are and end the job. A stop that one rank is asked for is
/// one of all groups (comm/stop.hpp). Collective over `comm`.
void agree_between_groups(const Communicator& comm, const std::function<void()>& work_of_group);

/// agree() for a function with a result.
template <typename F>
auto agreed(const Communicator& comm, F&& local) {
  decltype(local()) result{};
  agree(comm, [&] { result = local(); });
  return result;
}

} // namespace concord::comm
