#pragma once
/// What a shell and `man` are told of the program's commands, made from the commands themselves. Local.

#include <CLI/CLI.hpp>

#include <string>

namespace concord::app {

/// A script for bash that completes commands, flags, and study keys behind --set.
std::string bash_completion(const CLI::App& app);
/// The manual page in roff.
std::string man_page(const CLI::App& app);

} // namespace concord::app
