#include "concord/core/run/child.hpp"

#include "concord/core/error.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <spawn.h>
#include <string_view>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

#ifndef CONCORD_SCRIPTS
#define CONCORD_SCRIPTS ""
#define CONCORD_VENV_PYTHON ""
#endif

namespace concord {

namespace fs = std::filesystem;

namespace {

bool of_launcher(std::string_view entry) {
  constexpr std::string_view beginnings[] = {"OMPI_", "PMIX_", "PMI_", "PMI2_", "HYDI_"};
  return std::any_of(std::begin(beginnings), std::end(beginnings), [&](std::string_view begin) { return entry.starts_with(begin); });
}

} // namespace

std::string python_for(const std::string& wish) {
  if (!wish.empty()) return wish;
  if (const char* env = std::getenv("CONCORD_PYTHON")) return env;
  std::error_code error;
  if (fs::exists(CONCORD_VENV_PYTHON, error)) return CONCORD_VENV_PYTHON;
  return "python3";
}

fs::path script_path(const std::string& name) {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  fs::path beside = program.parent_path().parent_path() / "share/concord/scripts" / name;
  if (!error && fs::exists(beside, error)) return beside;
  constexpr std::string_view tree = CONCORD_SCRIPTS; // nowhere in a portable build
  fs::path in_tree = tree.empty() ? fs::path() : fs::path(tree) / name;
  require(!in_tree.empty() && fs::exists(in_tree, error), ExitCode::unavailable, "{} is neither at {} nor at {}", name, beside.string(),
          in_tree.string());
  return in_tree;
}

Child::Child(std::vector<std::string> words, int stream) {
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (auto& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  std::vector<char*> environment;
  for (char** entry = environ; *entry != nullptr; ++entry)
    if (!of_launcher(*entry)) environment.push_back(*entry);
  environment.push_back(nullptr);
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  ::posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  if (stream >= 0) {
    ::posix_spawn_file_actions_adddup2(&actions, stream, STDIN_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, stream, STDOUT_FILENO);
  }
  const int error = ::posix_spawnp(&pid_, arguments[0], &actions, &attributes, arguments.data(), environment.data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  require(error == 0, ExitCode::unavailable, "cannot start {}: {}; set report.python or CONCORD_PYTHON", words[0], std::strerror(error));
}

Child::~Child() {
  if (pid_ <= 0 || ended()) return;
  ::kill(-pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

bool Child::ended() {
  if (status_ < 0) {
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) == pid_) status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  return status_ >= 0;
}

} // namespace concord
