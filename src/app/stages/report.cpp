#include "app/report.hpp"

#include "concord/comm/agree.hpp"
#include "concord/core/log.hpp"
#include "concord/core/run/heartbeat.hpp"
#include "concord/core/run/provenance.hpp"
#include "concord/io/claim/claim.hpp"

#include "app/results/results.hpp"
#include "app/stages/options.hpp"
#include "app/stages/stages.hpp"

namespace concord::app {
namespace {

namespace fs = std::filesystem;

ReportOptions options_of(const StageRun& run) {
  ReportOptions o;
  o.output = run.files.output;
  o.name = run.study.text("study.name");
  o.python = run.study.text("report.python");
  o.top_matches = run.study.integer("report.top_matches");
  return o;
}

/// A link that is not there yet, to a place beside it.
void link(const fs::path& from, const fs::path& to) {
  std::error_code error;
  if (fs::is_symlink(fs::symlink_status(from, error))) return;
  fs::create_symlink(to.lexically_relative(from.parent_path()), from, error);
  require(!error, ExitCode::io, "cannot make the link {}: {}", from.string(), error.message());
}

/// A pair's folder then holds what a study of these two models would: whoever reads one reads the other.
void complete_folder(const StudyFiles& files, const study::Pair& pair) {
  link(files.of(pair) / "a", files.features(pair.a).parent_path());
  link(files.of(pair) / "b", files.features(pair.b).parent_path());
  if (pair.a.tokens == pair.b.tokens) link(files.of(pair) / "tokens.h5", files.tokens(pair.a));
}

void report_of(const StageRun& run, const study::Pair& pair) {
  ReportOptions o = options_of(run);
  o.output = run.files.of(pair);
  if (!pair.name.empty()) o.name += ": " + pair.name;
  o.stage_word = named("report", pair);
  o.tokens_a = run.files.tokens(pair.a);
  o.tokens_b = run.files.tokens(pair.b);
  o.saes_a = run.files.saes(pair.a);
  o.saes_b = run.files.saes(pair.b);
  for (const auto& other : run.study.pairs()) {
    const bool one_stream = other.a.extracted == other.b.extracted && other.folder != pair.folder;
    if (one_stream && (other.a.extracted == pair.a.extracted || other.a.extracted == pair.b.extracted))
      o.skylines.emplace_back(other.name, run.files.of(other));
  }
  make_report(run.comm, o);
}

void run(const StageRun& run) {
  if (!has_pairs(run.study)) {
    log_info("report: a study of one model has no pairs to report on");
    return;
  }
  const auto pairs = run.study.pairs();
  const io::Claim claim(run.comm, run.files.report());
  comm::agree(run.comm, [&] {
    if (run.comm.rank() != 0) return;
    run_record().accepted();
    check_results(run.study); // what a report shows side by side must belong together
    for (const auto& pair : pairs)
      if (!pair.name.empty()) complete_folder(run.files, pair);
  });
  const WaitingOutside another_program;
  std::vector<std::pair<std::string, fs::path>> named_pairs;
  for (const auto& pair : pairs) {
    report_of(run, pair);
    if (!pair.name.empty()) named_pairs.emplace_back(pair.name, run.files.of(pair));
  }
  if (!named_pairs.empty())
    make_report_of_pairs(run.comm, options_of(run), named_pairs, graph_options(run.study).pairs.empty() ? fs::path() : run.files.graph());
}

} // namespace

Stage report_stage() {
  return {.word = "report",
          .help = "all results of a study -> report/index.html, CSV, figures, summary.json",
          .table = "report",
          .command = {},
          .keys_of_flags = {},
          .has_work = has_pairs,
          .run = run,
          .results = {},
          .plan = {},
          .checks = {}};
}

} // namespace concord::app
