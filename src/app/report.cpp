#include "app/report.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/decided.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/progress.hpp"
#include "concord/core/run/child.hpp"
#include "concord/core/text.hpp"

#include <chrono>
#include <cstdlib>
#include <optional>
#include <thread>
#include <vector>

namespace concord::app {

namespace fs = std::filesystem;

namespace {

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
  std::vector<std::string> command{python, "-I", comm::decided(comm, [&] { return script_path(name).string(); }), "--name=" + o.name};
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
  std::vector<std::string> command{python_for(""), "-I", comm::decided(comm, [&] { return script_path(name).string(); })};
  command.insert(command.end(), words.begin(), words.end());
  return run_program(comm, command);
}

void make_report(const comm::Communicator& comm, const ReportOptions& o) {
  std::vector<std::string> words{"--tokens-a=" + o.tokens_a.string(), "--tokens-b=" + o.tokens_b.string(), "--saes-a=" + o.saes_a,
                                 "--saes-b=" + o.saes_b, "--top=" + std::to_string(o.top_matches)};
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
