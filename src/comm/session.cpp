#include "concord/comm/session.hpp"

#include "concord/core/log.hpp"

#include <mpi.h>

#include <cstdio>
#include <exception>
#include <new>

namespace concord::comm {

Session::Session(int& argc, char**& argv) : environment_(argc, argv, boost::mpi::threading::funneled, /*abort_on_exception=*/true) {
  set_speaker(world_.rank() == 0);
}

namespace {

[[noreturn]] void end_job(const Session& session, ExitCode code, const char* what) {
  std::fprintf(stderr, "concord: error [rank %d on %s]: %s\n", session.world().rank(), boost::mpi::environment::processor_name().c_str(),
               what);
  std::fflush(stderr);
  MPI_Abort(MPI_COMM_WORLD, static_cast<int>(code));
  std::terminate();
}

} // namespace

int run_guarded(const Session& session, const std::function<void()>& body) {
  try {
    body();
    return static_cast<int>(ExitCode::done);
  } catch (const Error& error) {
    if (!error.agreed() && session.world().size() > 1) end_job(session, error.code(), error.what());
    if (session.world().rank() == 0) {
      const bool stopped = error.code() == ExitCode::stopped;
      std::fprintf(stderr, "concord: %s%s\n", stopped ? "" : "error: ", error.what());
    }
    return static_cast<int>(error.code());
  } catch (const std::bad_alloc&) {
    end_job(session, ExitCode::unavailable, "out of memory; start more ranks, or see `concord plan` for what each stage needs");
  } catch (const std::exception& error) {
    end_job(session, ExitCode::internal, error.what());
  }
}

} // namespace concord::comm
