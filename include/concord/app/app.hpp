#pragma once
/// The program: command line, stages of a study, exit codes. Collective over the world.

#include "concord/comm/session.hpp"

namespace concord::app {

/// Parses the command line and runs the subcommand; returns the exit code, the same on every rank.
int run(const comm::Session& session, int argc, char** argv);

} // namespace concord::app
