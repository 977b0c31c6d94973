#pragma once
/// The stop flag: SIGUSR1, SIGTERM and --max-time ask for an early, resumable end (exit code 75).

#include "concord/comm/session.hpp"

namespace concord::comm {

/// Installs the signal handlers and starts the clock; `max_seconds` <= 0 means no limit. Local.
void install_stop_flag(double max_seconds);

/// Whether any rank was asked to stop or is out of time. Collective over `comm`; once a step.
bool stop_requested(const Communicator& comm);

/// Throws Error(stopped), agreed, saying how to go on.
[[noreturn]] void throw_stopped(const char* stage);

} // namespace concord::comm
