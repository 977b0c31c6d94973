#include "concord/comm/session.hpp"

#include "concord/comm/collectives.hpp"
#include "concord/core/digest.hpp"
#include "concord/core/log.hpp"
#include "concord/core/text.hpp"

#include <mpi.h>

#include "comm/watch/leave_launcher.hpp"
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

namespace concord::comm {

namespace {

/// Of this job, the same on all ranks; where its rank 0 is.
struct Job {
  std::array<char, 96> name{};
  std::array<char, MPI_MAX_PROCESSOR_NAME> host{};
};

Job& job() {
  static Job instance;
  return instance;
}

void name_job(const Communicator& world) {
  if (world.rank() == 0) {
    const auto name = fmt::format("concord-error-{}", digest_of(unique_name("job")));
    std::copy(name.begin(), name.end(), job().name.begin());
    const auto host = boost::mpi::environment::processor_name();
    std::copy(host.begin(), host.end(), job().host.begin());
  }
  MPI_Bcast(&job(), sizeof(Job), MPI_BYTE, 0, world);
}

int& ranks_here() {
  static int ranks = 0;
  return ranks;
}

constexpr unsigned seconds_to_end = 10; // in which a launcher ends the other ranks

/// Keeps the name bound a while longer than this process lives.
void keep_bound(int socket) {
  if (::fork() != 0) return;
  leave_launcher(socket);
  ::sleep(seconds_to_end);
  ::_exit(0);
}

/// Whether no other rank of this host has spoken: only one process can bind a name. Ranks often meet the same error, and may not talk about
/// it: the others may be anywhere.
bool first_to_speak() {
  if (boost::mpi::environment::processor_name() != job().host.data())
    std::this_thread::sleep_for(std::chrono::milliseconds(300)); // rank 0's host goes first
  const int socket = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::copy(job().name.begin(), job().name.end(), address.sun_path + 1); // a name that is no file
  if (socket < 0) return true;
  const bool first = ::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  if (first) keep_bound(socket);
  return first || errno != EADDRINUSE;
}

/// What MPI is to know before it starts. Open MPI opens a second file beside each one that several nodes share, NAME-...lock, for file
/// pointers that ranks share; where a node cannot open it, because its view of the folder is late, some ranks wait for ever. We have no
/// such pointers.
int& with_settings_of_mpi(int& argc) {
  ::setenv("OMPI_MCA_sharedfp", "^lockedfile,individual", /*overwrite=*/0);
  return argc;
}

} // namespace

void end_job(ExitCode code, const std::string& what) {
  if (!first_to_speak()) std::this_thread::sleep_for(std::chrono::seconds(seconds_to_end)); // the first one ends the job
  std::fprintf(stderr, "concord: error [rank %d on %s]: %s\n", Communicator().rank(), boost::mpi::environment::processor_name().c_str(),
               what.c_str());
  std::fflush(stderr);
  MPI_Abort(MPI_COMM_WORLD, static_cast<int>(code));
  std::terminate();
}

Session::Session(int& argc, char**& argv)
    : environment_(with_settings_of_mpi(argc), argv, boost::mpi::threading::funneled, /*abort_on_exception=*/true) {
  set_speaker(world_.rank() == 0);
  name_job(world_);
  if (boost::mpi::environment::thread_level() < boost::mpi::threading::funneled)
    end_job(ExitCode::unavailable,
            "this MPI gives no MPI_THREAD_FUNNELED, and concord has threads of its own; take an MPI built with threads");
  ranks_here() = node_size(world_);
}

int rank_by_launcher() {
  // Slurm's last: inside a job, a launcher of MPI's own starts ranks below one task.
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"})
    if (const char* text = std::getenv(name)) return std::atoi(text);
  return 0;
}

int ranks_of_job_on_node() {
  return ranks_here();
}

int run_guarded(const Session& session, const std::function<void()>& body) {
  try {
    body();
    return static_cast<int>(ExitCode::done);
  } catch (const Error& error) {
    if (!error.agreed() && session.world().size() > 1) end_job(error.code(), error.what());
    if (session.world().rank() == 0) {
      const bool stopped = error.code() == ExitCode::stopped;
      std::fprintf(stderr, "concord: %s%s\n", stopped ? "" : "error: ", error.what());
    }
    return static_cast<int>(error.code());
  } catch (...) {
    const auto failure = current_failure();
    end_job(failure.code, failure.message);
  }
}

} // namespace concord::comm
