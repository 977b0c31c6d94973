#include "concord/core/run/failure_reader.hpp"

#include <filesystem>
#include <new>
#include <system_error>

namespace concord {
namespace {

FailureReader& library_reader() {
  static FailureReader reader = nullptr;
  return reader;
}

} // namespace

void read_failures_with(FailureReader reader) {
  library_reader() = reader;
}

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
  } catch (const std::system_error& error) {
    // Of the standard library: a thread that cannot be started (a limit of processes), a stream that fails.
    const bool full = error.code() == std::errc::resource_unavailable_try_again || error.code() == std::errc::not_enough_memory;
    return {full ? ExitCode::unavailable : ExitCode::io,
            full ? fmt::format("{}; raise the limit of processes (ulimit -u)", error.what()) : error.what()};
  } catch (const std::exception& error) {
    if (library_reader() != nullptr)
      if (const auto failure = library_reader()(error)) return *failure;
    return {ExitCode::internal, error.what()};
  }
}

} // namespace concord
