#pragma once
/// `concord verify`: is a file that concord wrote whole and consistent? Local.

#include <filesystem>
#include <string>

namespace concord::app {

/// Checks one file or SAE folder by the rules of its stage; returns a line about what it is.
/// @throws Error input_missing or bad_data naming what is wrong.
std::string verify(const std::filesystem::path& path);

} // namespace concord::app
