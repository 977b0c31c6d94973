#pragma once
/// What depends on a file system, an environment or a clock is decided by rank 0, since ranks may see different things: a node with a stale
/// view of a folder would else take another path than the others and leave them waiting. Collective over `comm`.

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"

#include <type_traits>

namespace concord::comm {

/// Gives every rank rank 0's value.
void spread(const Communicator& comm, std::string& text);
void spread(const Communicator& comm, std::vector<std::string>& texts);
template <typename T>
void spread(const Communicator& comm, std::vector<T>& values) {
  broadcast(comm, values);
}
template <typename T>
requires std::is_trivially_copyable_v<T>
void spread(const Communicator& comm, T& value) {
  broadcast_bytes(comm, &value, sizeof value);
}

/// Runs `local` on rank 0 alone and gives its result, or its error, to every rank.
template <typename F>
auto decided(const Communicator& comm, F&& local) {
  decltype(local()) result{};
  agree(comm, [&] {
    if (comm.rank() == 0) result = local();
  });
  spread(comm, result);
  return result;
}

/// Makes sure that every rank has the same text, whatever its length. `message` gets rank 0's text and says how this rank's differs.
/// @throws Error config of the first rank that differs, agreed.
void require_same(const Communicator& comm, const std::string& mine, const std::function<std::string(const std::string& of_root)>& message);

} // namespace concord::comm
