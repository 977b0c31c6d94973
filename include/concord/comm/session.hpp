#pragma once
/// Lifetime of MPI and the one place that turns errors into exit codes. Collective over the world.

#include "concord/core/error.hpp"

#include <boost/mpi/communicator.hpp>
#include <boost/mpi/environment.hpp>

#include <functional>
#include <string>

namespace concord::comm {

using Communicator = boost::mpi::communicator;

/// MPI from construction to destruction. Must be the outermost object of main: destroyed while an exception unwinds, it
/// would abort before the message is printed.
class Session {
public:
  Session(int& argc, char**& argv);
  const Communicator& world() const { return world_; }

private:
  boost::mpi::environment environment_;
  Communicator world_;
};

/// This process's rank as the launcher's environment tells it (Open MPI, PMIx, PMI, Slurm); 0 where it tells none. Local, before MPI
/// starts.
int rank_by_launcher();

/// How many ranks of the job this node has; 0 where there is no Session. Local.
int ranks_of_job_on_node();

/// Ends all ranks with `code`, from wherever they are. One rank of each host, or of the job, says why. Local.
[[noreturn]] void end_job(ExitCode code, const std::string& what);

/// Runs `body` and returns the exit code, the same on every rank. An agreed error is reported once by rank 0; any other
/// error is reported by the rank that threw it, with its host, and ends the job with its exit code.
int run_guarded(const Session& session, const std::function<void()>& body);

} // namespace concord::comm
