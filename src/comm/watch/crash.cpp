#include "concord/comm/watch/crash.hpp"

#include "concord/core/error.hpp"

#include "comm/signal_stack.hpp"
#include <array>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <execinfo.h>
#include <string_view>
#include <thread>
#include <unistd.h>

namespace concord::comm {
namespace {

constexpr int signals[] = {SIGSEGV, SIGABRT, SIGFPE, SIGILL};
constexpr int deepest = 40;
std::thread::id main_thread;

void write_out(std::string_view text) {
  if (::write(STDERR_FILENO, text.data(), text.size()) < 0) ::_exit(static_cast<int>(ExitCode::internal));
}

std::string_view name_of_signal(int signal) {
  switch (signal) {
  case SIGSEGV:
    return "SIGSEGV, a bad address";
  case SIGABRT:
    return "SIGABRT, given up by itself or by a library";
  default:
    return "SIGFPE, a division by zero";
  }
}

std::atomic_flag crashed = ATOMIC_FLAG_INIT;
constexpr unsigned seconds_to_be_ended = 3;
constexpr unsigned seconds_to_say_it = 5; // names of functions are looked up behind the loader's lock, which may be held

/// Takes no memory.
extern "C" void concord_on_crash(int signal) {
  if (crashed.test_and_set())
    while (true) ::pause(); // another thread is saying it
  // Where another rank ends the job, Open MPI may call exit() on its own thread, which destroys what libtorch still works with: then this
  // process is gone before it speaks.
  ::sleep(seconds_to_be_ended);
  ::signal(SIGALRM, SIG_DFL);
  ::alarm(seconds_to_say_it);
  if (signal == SIGILL) {
    write_out(
        "concord: error: SIGILL, an instruction that this processor does not have; build with the CONCORD_ARCH of the nodes that run it "
        "(docs/install.md), such as -DCONCORD_ARCH=x86-64-v3\n");
    ::_exit(static_cast<int>(ExitCode::unavailable));
  }
  write_out("concord: error: a crash (");
  write_out(name_of_signal(signal));
  write_out("), which is a bug; please report it with these lines:\n");
  std::array<void*, deepest> frames{};
  ::backtrace_symbols_fd(frames.data(), ::backtrace(frames.data(), deepest), STDERR_FILENO);
  ::_exit(static_cast<int>(ExitCode::internal));
}

/// exit() of a library's thread: what main still computes with must not be destroyed under it.
extern "C" void concord_on_exit(int status, void* /*nothing*/) {
  if (std::this_thread::get_id() != main_thread) ::_exit(status);
}

} // namespace

void end_at_once_from_other_threads() {
  main_thread = std::this_thread::get_id();
  ::on_exit(concord_on_exit, nullptr);
}

void explain_crashes() {
  void* frame = nullptr;
  ::backtrace(&frame, 1); // loads what it needs, while there is memory
  take_signal_stack();    // the ordinary one may be what is full
  struct sigaction action {};
  action.sa_handler = concord_on_crash;
  action.sa_flags = SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  for (const int signal : signals) sigaction(signal, &action, nullptr);
}

} // namespace concord::comm
