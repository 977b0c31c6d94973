#pragma once
/// Errors that carry the exit code of the program. Local.

#include <fmt/format.h>

#include <stdexcept>
#include <string>

namespace concord {

/// Exit codes of every concord program (docs/exit-codes.md), after BSD sysexits.
enum class ExitCode : int {
  done = 0,
  usage = 64,         ///< wrong flags
  bad_data = 65,      ///< an input file is malformed or does not fit another
  input_missing = 66, ///< an input file does not exist
  unavailable = 69,   ///< memory, GPU or ranks are not there
  internal = 70,      ///< a bug in concord
  stalled = 71,       ///< a rank gave no sign of life
  io = 74,            ///< reading or writing failed
  stopped = 75,       ///< stopped early on request; run again to continue
  config = 78         ///< the study file is wrong
};

/// What an exception means to a user: its code, and a message in one line. What a file system refuses is input_missing or io, no memory
/// is unavailable, all else a bug. Inside a catch.
struct Failure {
  ExitCode code;
  std::string message;
};
Failure current_failure();

/// Any failure that a user sees. `agreed` is set once all ranks throw the same error together (comm/agree.hpp), so that
/// rank 0 alone reports it; an error that is not agreed ends the whole job.
class Error : public std::runtime_error {
public:
  Error(ExitCode code, const std::string& what, bool agreed = false) : std::runtime_error(what), code_(code), agreed_(agreed) {}
  ExitCode code() const noexcept { return code_; }
  bool agreed() const noexcept { return agreed_; }

private:
  ExitCode code_;
  bool agreed_;
};

/// Throws Error with a formatted message.
template <typename... Args>
[[noreturn]] void fail(ExitCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

/// Throws Error unless `ok`.
template <typename... Args>
void require(bool ok, ExitCode code, fmt::format_string<Args...> format, Args&&... args) {
  if (!ok) throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

} // namespace concord
