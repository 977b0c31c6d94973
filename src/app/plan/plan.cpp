#include "concord/app/plan/plan.hpp"

#include "concord/app/stages.hpp"
#include "concord/core/log.hpp"
#include "concord/core/text.hpp"

#include <nlohmann/json.hpp>

#include "app/plan/sizes_table.hpp"
#include <algorithm>

namespace concord::app {

using study::Study;

namespace {

void say_arrays(const StagePlan& stage) {
  constexpr double worth_a_line = 1 << 20;
  for (const auto& item : stage.memory.items()) {
    if (item.bytes < worth_a_line) continue;
    const char* holder = item.holder == MemoryItem::Holder::rank ? "a rank" : item.holder == MemoryItem::Holder::node ? "a node" : "rank 0";
    say("  {:<12} {:<11} {:<7} {:>12}  {} = {}{}", stage.stage, item.phase, holder, human_bytes(item.bytes), item.what, item.formula,
        item.may_be_less ? ", at most" : "");
  }
}

/// Seconds that a stop may have to wait.
double unbroken_seconds(const StagePlan& stage, const cost::Machine& machine, int on_node) {
  double most = 0;
  for (const cost::Amount& amount : stage.unbroken) most = std::max(most, amount.units / machine.rate(amount.work, amount.size, on_node));
  return stage.unbroken_seconds + most;
}

nlohmann::json stage_json(const StagePlan& stage, const PlannedMachine& m, const cost::Layout& layout) {
  constexpr const char* holders[] = {"rank", "node", "root"};
  nlohmann::json items = nlohmann::json::array();
  for (const auto& item : stage.memory.items())
    items.push_back({{"what", item.what},
                     {"formula", item.formula},
                     {"bytes", item.bytes},
                     {"holder", holders[static_cast<int>(item.holder)]},
                     {"phase", item.phase},
                     {"at_most", item.may_be_less}});
  nlohmann::json amounts = nlohmann::json::object();
  for (std::size_t i = 0; i < cost::kinds_of_work; ++i)
    if (const double amount = cost::amount_of(stage.cost, static_cast<cost::Work>(i)); amount > 0)
      amounts[cost::words_of_work()[i]] = amount;
  const cost::Traffic traffic = cost::traffic_of(stage.cost, layout);
  return {{"stage", stage.stage},
          {"disk", stage.disk},
          {"flops", stage.flops},
          {"work", amounts},
          {"read", traffic.read},
          {"written", traffic.written},
          {"calls", traffic.calls},
          {"time", json_of(predicted(stage, m.machine, layout))},
          {"stops_in", unbroken_seconds(stage, m.machine, m.on_node)},
          {"rank_0", stage.memory.of_rank()},
          {"rank", stage.memory.of_rank(false)},
          {"node", stage.memory.of_node()},
          {"arrays", items}};
}

void say_machine(const Study& study, const PlanSizes& sizes, const PlanOptions& options, const PlannedMachine& m) {
  if (options.nodes.empty())
    say("{:.0f} tokens on {} ranks, {} a node; upper bounds, since not every latent is matched", sizes.tokens, sizes.ranks, m.on_node);
  else
    say("{:.0f} tokens, {} ranks a node; upper bounds, since not every latent is matched", sizes.tokens, m.on_node);
  if (options.machine.empty())
    say("machine: none given, so the default constants ({}); concord calibrate measures yours, --machine takes them", m.machine.source);
  else
    say("machine: {} ({})", m.machine.name, m.machine.source);
  say("results: {}", study.path("study.output").string());
  if (const auto idle = stages_without_work(study); !idle.empty()) say("nothing to do in this study: {}", join(idle, ", "));
}

void print_one_size(const PlanSizes& sizes, const PlanOptions& options, const PlannedMachine& m) {
  const auto plans = stage_plans(sizes);
  say("{:<12} {:>12} {:>12} {:>14} {:>14} {:>10} {:>10}  {}", "stage", "disk", "flops", "memory a rank", "a node in all", "time",
      "stops in", "most of it");
  double disk = 0;
  double seconds = 0;
  std::vector<std::string> slow_files;
  for (const auto& plan : plans) {
    const auto time = predicted(plan, m.machine, sizes.layout());
    say("{:<12} {:>12} {:>12.2e} {:>14} {:>14} {:>10} {:>10}  {}", plan.stage, human_bytes(plan.disk), plan.flops,
        human_bytes(plan.memory.of_rank()), human_bytes(plan.memory.of_all(m.on_node)), time ? human_seconds(time->parts.total()) : "?",
        human_seconds(unbroken_seconds(plan, m.machine, m.on_node)), time ? time->limit : "the machine has no GPU");
    if (plan.stage.starts_with("extract") && time && time->limit == "files") slow_files.push_back(plan.stage);
    disk += plan.disk;
    if (time) seconds += time->parts.total();
  }
  say("{:<12} {:>12} {:>12} {:>14} {:>14} {:>10}", "total", human_bytes(disk), "", "", "", human_seconds(seconds));
  const auto omitted = not_counted(sizes.study, plans, m.machine, sizes.layout());
  if (!omitted.empty()) say("not in the total: {}", join(omitted, ", "));
  if (!slow_files.empty())
    say("{}: the ranks wait for the file system; fewer layers, fewer tokens or extract.fused = true write less", join(slow_files, ", "));
  if (options.memory) {
    say("arrays above 1 MiB (docs/memory.md has the symbols):");
    for (const auto& plan : plans) say_arrays(plan);
  }
  for (const auto& plan : plans)
    if (plan.of_gpu > 0) say("{}: each rank takes {} of its GPU", plan.stage, human_bytes(plan.of_gpu));
}

} // namespace

void print_plan(const Study& study, const PlanOptions& options) {
  require(options.ranks > 0 && options.ranks_a_node >= 0 && options.matched > 0 && options.matched <= 1, ExitCode::usage,
          "--ranks must be positive, --ranks-a-node not negative, --matched above 0 and at most 1");
  const PlannedMachine m = planned_machine(options);
  PlanSizes sizes = plan_sizes(study, options.ranks, std::min(m.on_node, options.ranks), options.tokens);
  sizes.matched = options.matched;
  if (options.json && options.nodes.empty()) {
    nlohmann::json stages = nlohmann::json::array();
    const auto plans = stage_plans(sizes);
    for (const auto& plan : plans) stages.push_back(stage_json(plan, m, sizes.layout()));
    say("{}", nlohmann::json{{"tokens", sizes.tokens},
                             {"ranks", sizes.ranks},
                             {"ranks_a_node", sizes.on_node},
                             {"machine", m.machine.name},
                             {"stages", stages},
                             {"without_work", stages_without_work(study)},
                             {"not_counted", not_counted(study, plans, m.machine, sizes.layout())}}
                  .dump(2));
    return;
  }
  if (!options.json) say_machine(study, sizes, options, m);
  if (options.nodes.empty())
    print_one_size(sizes, options, m);
  else
    print_sizes(study, options, m);
}

} // namespace concord::app
