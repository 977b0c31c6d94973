#include "concord/comm/agree.hpp"

#include "concord/comm/failing_together.hpp"
#include "concord/comm/stop.hpp"

#include <boost/mpi/collectives.hpp>
#include <boost/serialization/string.hpp>
#include <mpi.h>

#include <optional>

namespace concord::comm {
namespace {

bool together = false;

} // namespace

bool failing_together() {
  return together;
}

void note_failing_together(bool is) {
  together = is;
}

void agree(const Communicator& comm, const std::function<void()>& local) {
  int code = 0;
  std::string message;
  try {
    local();
  } catch (...) {
    const auto failure = current_failure();
    code = static_cast<int>(failure.code);
    message = failure.message;
  }
  int first_failing = code != 0 ? comm.rank() : comm.size();
  MPI_Allreduce(MPI_IN_PLACE, &first_failing, 1, MPI_INT, MPI_MIN, comm);
  if (first_failing == comm.size()) return;
  boost::mpi::broadcast(comm, code, first_failing);
  boost::mpi::broadcast(comm, message, first_failing);
  note_failing_together(true);
  throw Error(static_cast<ExitCode>(code), message, /*agreed=*/true);
}

void agree_between_groups(const Communicator& comm, const std::function<void()>& work_of_group) {
  std::optional<Error> failed;
  StopAcross stop(comm);
  try {
    work_of_group();
  } catch (const Error& error) {
    if (!error.agreed()) throw;
    note_failing_together(false);
    failed = error;
  }
  stop.meet();
  agree(comm, [&] {
    if (failed) fail(failed->code(), "{}", failed->what());
  });
}

} // namespace concord::comm
