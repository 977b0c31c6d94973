#pragma once
// Stage `report`: runs scripts/report.py over a study's results. Collective over `comm`.

#include "concord/comm/session.hpp"
#include "concord/core/index.hpp"

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace concord::app {

struct ReportOptions {
  std::filesystem::path output; ///< folder of the study's results; the report goes to output/report
  std::string name;
  std::string stage_word = "report";
  std::string python; ///< empty: $CONCORD_PYTHON, else concord's own .venv, else python3
  Index top_matches = 10;
  std::filesystem::path tokens_a, tokens_b; ///< tokens.h5 of the models
  std::string saes_a;
  std::string saes_b;
  std::vector<std::pair<std::string, std::filesystem::path>> skylines; ///< pairs of models of one residual stream, and their folders
};

/// Whether a Python with the needed packages is there, to say so before hours of work. Rank 0 looks. Collective. @throws Error unavailable.
void check_report_python(const comm::Communicator& comm, const std::string& python);

/// A page over all pairs, each a name and the folder of its results, whose own reports are made. `graph`: graph.h5, or empty.
/// @throws as make_report().
void make_report_of_pairs(const comm::Communicator& comm, const ReportOptions& options,
                          const std::vector<std::pair<std::string, std::filesystem::path>>& pairs, const std::filesystem::path& graph);

/// Runs a script of concord, by a Python with matplotlib, with these words; $CONCORD names this program.
/// @returns its exit status on rank 0.
/// @throws Error unavailable, stopped; agreed.
int run_script_with(const comm::Communicator& comm, const char* name, const std::vector<std::string>& words);

/// Rank 0 runs the script; every rank waits. @throws Error unavailable (no Python with the needed packages), input_missing, config
/// (results that do not belong together), stopped, or internal.
void make_report(const comm::Communicator& comm, const ReportOptions& options);

} // namespace concord::app
