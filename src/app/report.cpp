#include "app/report.hpp"

#include "concord/comm/agree.hpp"
#include "concord/core/progress.hpp"
#include "concord/core/text.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <spawn.h>
#include <sys/wait.h>
#include <vector>

extern char** environ;

namespace concord::app {

namespace fs = std::filesystem;

namespace {

std::string python_for(const std::string& wish) {
  if (!wish.empty()) return wish;
  if (const char* env = std::getenv("CONCORD_PYTHON")) return env;
  if (fs::exists(CONCORD_VENV_PYTHON)) return CONCORD_VENV_PYTHON;
  return "python3";
}

fs::path script() {
  fs::path installed = fs::path(CONCORD_INSTALL_PREFIX) / "share/concord/scripts/report.py";
  if (fs::exists(CONCORD_REPORT_SCRIPT)) return CONCORD_REPORT_SCRIPT;
  require(fs::exists(installed), ExitCode::unavailable, "report.py is neither at {} nor at {}", CONCORD_REPORT_SCRIPT, installed.string());
  return installed;
}

/// Runs a program without the variables that would make it join this MPI job; returns its exit status.
int run_program(std::vector<std::string> words) {
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (auto& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  std::vector<char*> environment;
  for (char** entry = environ; *entry != nullptr; ++entry)
    if (std::strncmp(*entry, "OMPI_", 5) != 0 && std::strncmp(*entry, "PMIX_", 5) != 0) environment.push_back(*entry);
  environment.push_back(nullptr);
  pid_t child = 0;
  const int error = ::posix_spawnp(&child, arguments[0], nullptr, nullptr, arguments.data(), environment.data());
  require(error == 0, ExitCode::unavailable, "cannot start {}: {}; set report.python or CONCORD_PYTHON", words[0], std::strerror(error));
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

} // namespace

void make_report(const comm::Communicator& comm, const ReportOptions& o) {
  const Progress clock("report", 1, "reports");
  comm::agree(comm, [&] {
    if (comm.rank() != 0) return;
    const int status = run_program({python_for(o.python), script().string(), o.output.string(), "--name", o.name, "--saes-a", o.saes_a,
                                    "--saes-b", o.saes_b, "--top", std::to_string(o.top_matches)});
    if (status == 0) return;
    require(status != 69, ExitCode::unavailable, "the Python for the report lacks h5py, numpy or matplotlib; see report.python");
    require(status != 66, ExitCode::input_missing, "the report needs the results of all earlier stages in {}", o.output.string());
    fail(ExitCode::internal, "report.py ended with status {}", status);
  });
  say_stage_ok("report", clock.seconds(), "", (o.output / "report" / "index.html").string());
}

} // namespace concord::app
