#pragma once
/// Ends a job whose ranks wait for one that does not come, and says which and where each rank is.
///
/// A thread of each rank watches; it needs no MPI, which may be where the ranks wait. The ranks of a node see each other's state in shared
/// memory, nodes write theirs into a folder once one of them suspects something. A rank is missing when, for the time allowed, its process
/// has not run (stopped, frozen), or it is outside MPI and neither makes progress nor uses its processor; or makes no progress for ten
/// times as long. The job ends when some ranks are missing and others wait in MPI, or when all wait in MPI. Ranks that compute are waited
/// for.

#include "concord/comm/session.hpp"

#include <filesystem>
#include <memory>

namespace concord::comm {

class Watchdog {
public:
  /// `seconds` allowed without progress; <= 0: watches nothing. Collective over `comm`.
  Watchdog(const Communicator& comm, double seconds);
  /// Local.
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

private:
  struct Watch;
  std::unique_ptr<Watch> watch_;
};

/// Where nodes meet: a folder that all see. The first one named counts; without one only the ranks of a node watch each other. Local.
void let_watchdogs_meet_in(const std::filesystem::path& folder);

/// While it lives this rank is in one call of MPI, MPI_Wait: for a loop that tests instead of waiting. Local.
class WaitingInMpi {
public:
  WaitingInMpi();
  ~WaitingInMpi();
  WaitingInMpi(const WaitingInMpi&) = delete;
  WaitingInMpi& operator=(const WaitingInMpi&) = delete;

private:
  bool outermost_;
};

/// The call of MPI that this rank is in; "" outside. Local.
const char* mpi_call_name(int call);
int mpi_call_now();

} // namespace concord::comm
