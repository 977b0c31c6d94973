#pragma once
/// Digests of large files: every byte counts, each rank reads a part, and what was read once is remembered.

#include "concord/comm/session.hpp"

#include <filesystem>
#include <string>

namespace concord::io {

/// Digest of the whole file (core/digest.hpp: digest_of_pieces), the same whatever the ranks. It is remembered by path, size, times and
/// inode in
/// `$XDG_CACHE_HOME/concord` (else `~/.cache/concord`), which may be removed at any time. Looks for the stop signal between pieces.
/// Collective over `comm`. @throws Error input_missing, io, bad_data (the file changes while it is read) or stopped; agreed.
std::string file_digest(const comm::Communicator& comm, const std::filesystem::path& path);

/// The same by this rank alone, for as long as it takes; at once where file_digest() was asked for the path before. Local.
std::string file_digest_alone(const std::filesystem::path& path);

} // namespace concord::io
