#pragma once
/// The program: command line, stages of a study, exit codes. Collective over the world where nothing else is said.

#include "concord/comm/session.hpp"

#include <optional>

namespace concord::app {

/// Answers what needs no other rank and so no MPI: help, the version, keys, stages, completion, the manual page; rank 0 speaks. Returns the
/// exit code; none where the command line asks for something else. Local, before the Session.
std::optional<int> answer_alone(int argc, char** argv);

/// Parses the command line and runs the subcommand; returns the exit code, the same on every rank.
int run(const comm::Session& session, int argc, char** argv);

} // namespace concord::app
