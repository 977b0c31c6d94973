#include "concord/comm/await_file.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/error.hpp"

#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <thread>

namespace concord::comm {
namespace {

/// Looks again and again, first soon, then twice a second.
class Look {
public:
  explicit Look(const std::filesystem::path& path) : path_(path) {}
  bool sees() const {
    std::error_code unreadable;
    return std::filesystem::exists(path_, unreadable);
  }
  bool was_long() const { return std::chrono::steady_clock::now() - begin_ >= patience; }
  void pause() {
    constexpr std::chrono::milliseconds longest{500};
    std::this_thread::sleep_for(pause_);
    pause_ = std::min(2 * pause_, longest);
  }
  [[noreturn]] void give_up() const {
    fail(ExitCode::io, "{} was made by another rank and is not seen here after {} s; do all nodes mount the same file system?",
         path_.string(), patience.count());
  }
  std::string words() const { return "the wait for " + path_.string(); }

private:
  static constexpr std::chrono::seconds patience{120};
  const std::filesystem::path& path_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  std::chrono::milliseconds pause_{1};
};

} // namespace

void await_file(const Communicator& comm, const std::filesystem::path& path) {
  Look look(path);
  while (true) {
    const bool sees = look.sees();
    // Whether any rank does not see it, is asked to stop; whether rank 0 has waited long enough.
    int any[3] = {sees ? 0 : 1, stop_wanted_here() ? 1 : 0, comm.rank() == 0 && look.was_long() ? 1 : 0};
    MPI_Allreduce(MPI_IN_PLACE, any, 3, MPI_INT, MPI_MAX, comm);
    if (any[0] == 0) return;
    if (any[1] != 0) throw_stopped(look.words().c_str());
    if (any[2] != 0)
      agree(comm, [&] {
        if (!sees) look.give_up();
      });
    look.pause();
  }
}

void await_file_here(const std::filesystem::path& path) {
  Look look(path);
  while (!look.sees()) {
    if (stop_wanted_here()) fail(ExitCode::stopped, "{} stopped early on request; run the same command to go on", look.words());
    if (look.was_long()) look.give_up();
    look.pause();
  }
}

} // namespace concord::comm
