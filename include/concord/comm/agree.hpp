#pragma once
/// Fail together: what goes wrong on one rank is thrown on all of them, so that nobody waits for ever.

#include "concord/comm/session.hpp"

#include <functional>

namespace concord::comm {

/// Runs `local` on every rank; if it throws on any, every rank throws the error of the lowest failing rank (agreed).
/// Collective over `comm`. `local` itself must not communicate.
void agree(const Communicator& comm, const std::function<void()>& local);

/// agree() for a function with a result.
template <typename F>
auto agreed(const Communicator& comm, F&& local) {
  decltype(local()) result{};
  agree(comm, [&] { result = local(); });
  return result;
}

} // namespace concord::comm
