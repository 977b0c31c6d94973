#pragma once
/// Waiting until a file or folder can be seen that another rank has made. Clients of a network file system keep for a while that a name was
/// not there, and sizes: NFS for up to a minute.

#include "concord/comm/session.hpp"

#include <filesystem>

namespace concord::comm {

/// Waits until every rank sees its `path`. A stop that any rank is asked for ends the wait. Collective over `comm`. @throws Error stopped,
/// or io behind two minutes; agreed.
void await_file(const Communicator& comm, const std::filesystem::path& path);

/// Waits until this rank sees it. A stop that this rank is asked for ends the wait. Local; inside agree(), so that no rank goes on alone.
/// @throws Error stopped, or io behind two minutes.
void await_file_here(const std::filesystem::path& path);

} // namespace concord::comm
