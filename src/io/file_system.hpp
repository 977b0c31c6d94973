#pragma once
/// On which kind of file system a path lies. Local.

#include <filesystem>
#include <string>

namespace concord::io {

/// "ext4", "nfs", "lustre", ...; "type 0x1234" of one that is not known here. Of the nearest folder above where `path` is not there yet; ""
/// where the system does not tell.
std::string file_system_of(const std::filesystem::path& path);

} // namespace concord::io
