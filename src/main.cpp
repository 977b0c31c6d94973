#include "concord/app/app.hpp"
#include "concord/comm/session.hpp"
#include "concord/comm/stop.hpp"
#include "concord/comm/watch/crash.hpp"
#include "concord/core/error.hpp"
#include "concord/io/hdf5.hpp"
#include "concord/io/safetensors.hpp"

#include <cstdio>
#include <malloc.h>
#include <unistd.h>

namespace {

int run(int argc, char** argv) {
  const concord::comm::Session session(argc, argv); // outermost: it must outlive every error message
  concord::comm::end_at_once_from_other_threads();
  const int code = concord::app::run(session, argc, argv);
  if (code != 0 && concord::io::Handle::close_failed()) { // said by now; HDF5 would crash when MPI ends it
    std::fflush(nullptr);
    ::_exit(code);
  }
  return code;
}

/// What was said may still lie in a buffer, and the disk behind it be full.
int unless_unheard(int code) {
  if ((std::fflush(stdout) == 0 && std::ferror(stdout) == 0) || code != 0) return code;
  std::fputs("concord: error: cannot write to standard output\n", stderr);
  return static_cast<int>(concord::ExitCode::io);
}

} // namespace

int main(int argc, char** argv) {
  concord::comm::catch_stop_signals(); // before MPI starts, which takes its time
  concord::comm::explain_crashes();
  concord::io::explain_lost_pages();
  // Large tensors come and go all the time; keeping their pages avoids faulting them in again on every step.
  mallopt(M_MMAP_THRESHOLD, 32 << 20); // the largest value that glibc takes
  mallopt(M_TRIM_THRESHOLD, 2047 << 20);
  const auto answered = concord::app::answer_alone(argc, argv);
  const int code = unless_unheard(answered ? *answered : run(argc, argv));
#ifndef __SANITIZE_ADDRESS__ // its search for leaks comes at exit
  // MPI has ended and with it HDF5. What is left is libtorch's tables: freeing them takes a third of the time of a short run, and it is
  // where another rank's end, or a second signal, would find them half destroyed.
  std::fflush(nullptr);
  ::_exit(code);
#endif
  return code;
}
