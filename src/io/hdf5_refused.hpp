#pragma once
/// What is said where HDF5 fails. Local.

#include "concord/core/error.hpp"

#include <filesystem>
#include <string>

namespace concord::io {

/// HDF5 prints no errors of its own from here on.
void silence_hdf5();

/// Throws Error(`code`) with `text` and HDF5's reason. Where that is a lock that is not to be had: Error(io) with the file system's name
/// and what to set.
[[noreturn]] void refuse_file(const std::filesystem::path& path, ExitCode code, const std::string& text);

} // namespace concord::io
