#include "app/report.hpp"

#include "concord/comm/agree.hpp"
#include "concord/core/heartbeat.hpp"
#include "concord/core/provenance.hpp"
#include "concord/io/claim.hpp"

#include "app/results.hpp"
#include "app/stages/stages.hpp"

namespace concord::app {
namespace {

void run(const StageRun& run) {
  const auto models = run.study.models();
  ReportOptions o;
  o.output = run.files.output;
  o.name = run.study.text("study.name");
  o.python = run.study.text("report.python");
  o.top_matches = run.study.integer("report.top_matches");
  o.saes_a = run.files.saes(models[0]);
  o.saes_b = run.files.saes(models[1]);
  const io::Claim claim(run.comm, run.files.report());
  comm::agree(run.comm, [&] {
    if (run.comm.rank() != 0) return;
    run_record().accepted();
    check_results(run.study); // what a report shows side by side must belong together
  });
  const WaitingOutside another_program;
  make_report(run.comm, o);
}

} // namespace

Stage report_stage() {
  return {.word = "report",
          .help = "all results of a study -> report/index.html, CSV, figures, summary.json",
          .table = "report",
          .command = {},
          .keys_of_flags = {},
          .run = run,
          .results = {},
          .plan = {},
          .checks = {}};
}

} // namespace concord::app
