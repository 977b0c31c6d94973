#include "concord/core/error.hpp"

#include <exception>
#include <filesystem>
#include <new>
#include <system_error>

namespace concord {

Failure current_failure() {
  try {
    throw;
  } catch (const Error& error) {
    return {error.code(), error.what()};
  } catch (const std::bad_alloc&) {
    return {ExitCode::unavailable, "out of memory; start more ranks, or see `concord plan` for what each stage needs"};
  } catch (const std::filesystem::filesystem_error& error) {
    const bool missing = error.code() == std::errc::no_such_file_or_directory;
    const std::string to = error.path2().empty() ? std::string() : " to " + error.path2().string();
    return {missing ? ExitCode::input_missing : ExitCode::io,
            fmt::format("cannot work on {}{}: {}", error.path1().string(), to, error.code().message())};
  } catch (const std::exception& error) {
    return {ExitCode::internal, error.what()};
  }
}

} // namespace concord
