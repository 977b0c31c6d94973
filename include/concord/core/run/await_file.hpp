#pragma once

#include <filesystem>

namespace concord {

/// Waits until a file or folder can be seen here that another rank has made. Clients of a network file system keep for a while that a name
/// was not there, and sizes: NFS for up to a minute. It does not look for the stop signal. Local. @throws Error io behind two minutes.
void await_file(const std::filesystem::path& path);

} // namespace concord
