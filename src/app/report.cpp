#include "app/report.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/decided.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/progress.hpp"
#include "concord/core/text.hpp"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <spawn.h>
#include <sys/wait.h>
#include <thread>
#include <vector>

extern char** environ;

#ifndef CONCORD_REPORT_SCRIPT
#define CONCORD_REPORT_SCRIPT ""
#define CONCORD_VENV_PYTHON ""
#endif

namespace concord::app {

namespace fs = std::filesystem;

namespace {

std::string python_for(const std::string& wish) {
  if (!wish.empty()) return wish;
  if (const char* env = std::getenv("CONCORD_PYTHON")) return env;
  std::error_code error;
  if (fs::exists(CONCORD_VENV_PYTHON, error)) return CONCORD_VENV_PYTHON;
  return "python3";
}

/// A script of the source tree, or the one installed beside this program, wherever the tree was moved to.
fs::path script(const char* name) {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  const fs::path beside = program.parent_path().parent_path() / "share/concord/scripts" / name;
  if (!error && fs::exists(beside, error)) return beside;
  constexpr std::string_view tree = CONCORD_REPORT_SCRIPT; // nowhere in a portable build
  const fs::path in_tree = tree.empty() ? fs::path() : fs::path(tree).parent_path() / name;
  require(!in_tree.empty() && fs::exists(in_tree, error), ExitCode::unavailable, "{} is neither at {} nor at {}", name, beside.string(),
          in_tree.string());
  return in_tree;
}

bool of_launcher(std::string_view entry) {
  constexpr std::string_view beginnings[] = {"OMPI_", "PMIX_", "PMI_", "PMI2_", "HYDI_"};
  return std::any_of(std::begin(beginnings), std::end(beginnings), [&](std::string_view begin) { return entry.starts_with(begin); });
}

/// A program in a process group of its own: signals that ask this job to stop do not reach it.
class Child {
public:
  /// Without the variables by which launchers of Open MPI and MPICH would make it join this job.
  explicit Child(std::vector<std::string> words) {
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
    const int error = ::posix_spawnp(&pid_, arguments[0], nullptr, &attributes, arguments.data(), environment.data());
    ::posix_spawnattr_destroy(&attributes);
    require(error == 0, ExitCode::unavailable, "cannot start {}: {}; set report.python or CONCORD_PYTHON", words[0], std::strerror(error));
  }
  ~Child() {
    if (pid_ <= 0 || ended()) return;
    ::kill(-pid_, SIGKILL);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  bool ended() {
    if (status_ < 0) {
      int status = 0;
      if (::waitpid(pid_, &status, WNOHANG) == pid_) status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    return status_ >= 0;
  }
  /// Exit status; only when it has ended.
  int status() const { return status_; }

private:
  pid_t pid_ = 0;
  int status_ = -1;
};

/// Runs a program on rank 0 and returns its exit status there; a stop that any rank is asked for ends it. Collective over `comm`.
int run_program(const comm::Communicator& comm, const std::vector<std::string>& words) {
  std::optional<Child> child;
  comm::agree(comm, [&] {
    if (comm.rank() == 0) child.emplace(words);
  });
  while (true) {
    int ended = child && child->ended() ? 1 : 0;
    comm::broadcast_bytes(comm, &ended, sizeof ended);
    if (ended != 0) return child ? child->status() : 0;
    if (comm::stop_requested(comm)) {
      child.reset();
      comm::throw_stopped("report");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

constexpr const char* packages_missing = "{}, the Python for the report, lacks h5py, numpy or matplotlib; run scripts/setup, or set "
                                         "report.python or CONCORD_PYTHON to one that has them";

} // namespace

void check_report_python(const comm::Communicator& comm, const std::string& python) {
  const std::string program = python_for(python);
  const int status = run_program(comm, {program, "-I", "-c",
                                        "import importlib.util as u, sys; "
                                        "sys.exit(69 if None in map(u.find_spec, ('h5py', 'numpy', 'matplotlib')) else 0)"});
  comm::agree(comm, [&] { require(status == 0, ExitCode::unavailable, packages_missing, program); });
}

namespace {

/// Runs a script that makes options.output/report/index.html. @param words its arguments
void run_script(const comm::Communicator& comm, const ReportOptions& o, const char* name, const std::vector<std::string>& words) {
  const Progress clock(o.stage_word, 1, "reports");
  const fs::path page = o.output / "report" / "index.html";
  const std::string python = python_for(o.python);
  fs::file_time_type before;
  std::error_code error;
  if (comm.rank() == 0) before = fs::last_write_time(page, error);
  // -I: neither PYTHONPATH nor the folder of the script or of the user reaches it.
  std::vector<std::string> command{python, "-I", comm::decided(comm, [&] { return script(name).string(); }), "--name=" + o.name};
  command.insert(command.end(), words.begin(), words.end());
  const int status = run_program(comm, command);
  comm::agree(comm, [&] {
    if (comm.rank() != 0) return;
    require(status != 69, ExitCode::unavailable, packages_missing, python);
    require(status != 65, ExitCode::bad_data, "the report cannot read a result in {}; see the line above", o.output.string());
    require(status != 66, ExitCode::input_missing, "the report needs the results of all earlier stages in {}", o.output.string());
    require(status == 0, ExitCode::internal, "{} ended with status {}", name, status);
    std::error_code none;
    const auto after = fs::last_write_time(page, none);
    require(!none && (error || after != before), ExitCode::unavailable, "{} ended well but made no {}; is it a Python? See report.python",
            python, page.string());
  });
  say_stage_ok(o.stage_word, clock.seconds(), "", page.string());
}

} // namespace

int run_script_with(const comm::Communicator& comm, const char* name, const std::vector<std::string>& words) {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (!error) ::setenv("CONCORD", program.c_str(), /*overwrite=*/1);
  std::vector<std::string> command{python_for(""), "-I", comm::decided(comm, [&] { return script(name).string(); })};
  command.insert(command.end(), words.begin(), words.end());
  return run_program(comm, command);
}

void make_report(const comm::Communicator& comm, const ReportOptions& o) {
  std::vector<std::string> words{"--saes-a=" + o.saes_a, "--saes-b=" + o.saes_b, "--top=" + std::to_string(o.top_matches)};
  for (const auto& [name, folder] : o.skylines) words.push_back("--skyline=" + name + "=" + folder.string());
  words.insert(words.end(), {"--", o.output.string()});
  run_script(comm, o, "report.py", words);
}

void make_report_of_pairs(const comm::Communicator& comm, const ReportOptions& o,
                          const std::vector<std::pair<std::string, fs::path>>& pairs, const fs::path& graph) {
  std::vector<std::string> words;
  if (!graph.empty()) words.push_back("--graph=" + graph.string());
  words.insert(words.end(), {"--", o.output.string()});
  for (const auto& [name, folder] : pairs) words.push_back(name + "=" + folder.string());
  run_script(comm, o, "report_pairs.py", words);
}

} // namespace concord::app
