#include "concord/app/plan.hpp"

#include "concord/app/stages.hpp"
#include "concord/core/log.hpp"
#include "concord/core/memory.hpp"
#include "concord/core/text.hpp"
#include "concord/core/threads.hpp"

#include <nlohmann/json.hpp>

#include "app/plan_sizes.hpp"
#include <algorithm>

namespace concord::app {

using study::Study;

namespace {

/// Headers, provenance and what lies beside: of the files of a stage, however small the study.
constexpr double overhead_of_files = 256 << 10;

void add_program(MemoryPlan& plan) {
  plan.begin_phase("");
  plan.each_rank("program, libraries and what a thread of theirs keeps", "170 MiB + 30 MiB (n - 1)",
                 base_memory + thread_memory * (thread_count() - 1));
}

std::vector<StagePlan> stage_plans(const PlanSizes& sizes) {
  std::vector<StagePlan> plans;
  for (const Stage& stage : stages()) {
    if (!stage.plan) continue;
    for (auto& plan : stage.plan(sizes)) {
      plan.disk += overhead_of_files;
      if (stage.word != "extract") add_program(plan.memory); // extract counts its own
      plans.push_back(std::move(plan));
    }
  }
  return plans;
}

void say_arrays(const StagePlan& stage) {
  constexpr double worth_a_line = 1 << 20;
  for (const auto& item : stage.memory.items()) {
    if (item.bytes < worth_a_line) continue;
    const char* holder = item.holder == MemoryItem::Holder::rank ? "a rank" : item.holder == MemoryItem::Holder::node ? "a node" : "rank 0";
    say("  {:<12} {:<11} {:<7} {:>12}  {} = {}{}", stage.stage, item.phase, holder, human_bytes(item.bytes), item.what, item.formula,
        item.may_be_less ? ", at most" : "");
  }
}

nlohmann::json json_of(const StagePlan& stage) {
  constexpr const char* holders[] = {"rank", "node", "root"};
  nlohmann::json items = nlohmann::json::array();
  for (const auto& item : stage.memory.items())
    items.push_back({{"what", item.what},
                     {"formula", item.formula},
                     {"bytes", item.bytes},
                     {"holder", holders[static_cast<int>(item.holder)]},
                     {"phase", item.phase},
                     {"at_most", item.may_be_less}});
  return {{"stage", stage.stage},
          {"disk", stage.disk},
          {"flops", stage.flops},
          {"rank_0", stage.memory.of_rank()},
          {"unbroken_flops", stage.unbroken_flops},
          {"unbroken_seconds", stage.unbroken_seconds},
          {"rank", stage.memory.of_rank(false)},
          {"node", stage.memory.of_node()},
          {"arrays", items}};
}

} // namespace

void print_plan(const Study& study, const PlanOptions& options) {
  require(options.ranks > 0 && options.gflops > 0 && options.write_gbs > 0 && options.ranks_a_node >= 0, ExitCode::usage,
          "--ranks, --gflops and --write-gbs must be positive, --ranks-a-node not negative");
  const int ranks = options.ranks;
  const int on_node = options.ranks_a_node > 0 ? std::min(options.ranks_a_node, ranks) : ranks;
  const PlanSizes sizes = plan_sizes(study, ranks, on_node);
  const auto plans = stage_plans(sizes);
  if (options.json) {
    nlohmann::json stages = nlohmann::json::array();
    for (const auto& plan : plans) stages.push_back(json_of(plan));
    say("{}", nlohmann::json{{"tokens", sizes.tokens}, {"ranks", ranks}, {"ranks_a_node", on_node}, {"stages", stages}}.dump(2));
    return;
  }
  say("{:.0f} tokens on {} ranks, {} a node, at {:.0f} Gflop/s each, files at {:g} GB/s; upper bounds, since not every latent is matched",
      sizes.tokens, ranks, on_node, options.gflops, options.write_gbs);
  say("results: {}", study.path("study.output").string());
  say("{:<12} {:>12} {:>12} {:>14} {:>14} {:>10} {:>10} {:>10}", "stage", "disk", "flops", "memory a rank", "a node in all", "time",
      "bound by", "stops in");
  double disk = 0;
  double seconds = 0;
  std::vector<std::string> slow_writing;
  for (const auto& plan : plans) {
    const double computing = plan.flops / (options.gflops * 1e9 * ranks);
    const double writing = plan.disk / (options.write_gbs * 1e9);
    const double time = std::max(computing, writing);
    const double unbroken = plan.unbroken_seconds + plan.unbroken_flops / (options.gflops * 1e9);
    say("{:<12} {:>12} {:>12.2e} {:>14} {:>14} {:>10} {:>10} {:>10}", plan.stage, human_bytes(plan.disk), plan.flops,
        human_bytes(plan.memory.of_rank()), human_bytes(plan.memory.of_all(on_node)), human_seconds(time),
        writing > computing ? "writing" : "arithmetic", human_seconds(unbroken));
    if (plan.stage.starts_with("extract") && writing > computing) slow_writing.push_back(plan.stage);
    disk += plan.disk;
    seconds += time;
  }
  say("{:<12} {:>12} {:>12} {:>14} {:>14} {:>10}", "total", human_bytes(disk), "", "", "", human_seconds(seconds));
  if (!slow_writing.empty())
    say("{}: the ranks wait for the file system; fewer layers, fewer tokens or extract.fused = true write less", join(slow_writing, ", "));
  if (options.memory) {
    say("arrays above 1 MiB (docs/memory.md has the symbols):");
    for (const auto& plan : plans) say_arrays(plan);
  }
  for (const auto& plan : plans)
    if (plan.of_gpu > 0) say("{}: each rank takes {} of its GPU", plan.stage, human_bytes(plan.of_gpu));
}

} // namespace concord::app
