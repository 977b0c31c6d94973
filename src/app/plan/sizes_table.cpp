#include "app/plan/sizes_table.hpp"

#include "concord/app/stages.hpp"
#include "concord/core/log.hpp"
#include "concord/core/machine/memory.hpp"
#include "concord/core/machine/threads.hpp"
#include "concord/core/text.hpp"

#include <algorithm>

namespace concord::app {

namespace {

/// Headers, provenance and what lies beside: of the files of a stage, however small the study.
constexpr double overhead_of_files = 256 << 10;

void add_program(MemoryPlan& plan) {
  plan.begin_phase("");
  plan.each_rank("program, libraries and what a thread of theirs keeps", "170 MiB + 30 MiB (n - 1)",
                 base_memory + thread_memory * (thread_count() - 1));
}

/// One stage, or all of them, at one size.
struct AtSize {
  std::string stage;
  int nodes = 1;
  int ranks = 1;
  std::optional<cost::Prediction> prediction;
  double node_hours() const { return prediction->parts.total() * nodes / 3600; }
};

std::vector<AtSize> at_size(const study::Study& study, const PlanOptions& options, const PlannedMachine& m, int nodes) {
  auto sizes = plan_sizes(study, nodes * m.on_node, m.on_node, options.tokens);
  sizes.matched = options.matched;
  std::vector<AtSize> all;
  cost::Prediction sum;
  for (const auto& plan : stage_plans(sizes)) {
    all.push_back({plan.stage, nodes, sizes.ranks, predicted(plan, m.machine, sizes.layout())});
    if (!all.back().prediction) continue;
    sum.parts = sum.parts + all.back().prediction->parts;
  }
  const auto longest = [](const AtSize& a, const AtSize& b) {
    return (a.prediction ? a.prediction->parts.total() : 0) < (b.prediction ? b.prediction->parts.total() : 0);
  };
  if (!all.empty()) sum.limit = std::max_element(all.begin(), all.end(), longest)->stage;
  all.push_back({"all stages", nodes, sizes.ranks, sum});
  return all;
}

/// Node-hours at the first size over those at another.
double efficiency(const AtSize& first, const AtSize& other) {
  return other.node_hours() > 0 ? first.node_hours() / other.node_hours() : 1;
}

} // namespace

std::vector<StagePlan> stage_plans(const PlanSizes& sizes) {
  std::vector<StagePlan> plans;
  for (const Stage& stage : stages()) {
    if (!stage.plan) continue;
    for (auto& plan : stage.plan(sizes)) {
      if (plan.cost.empty() && plan.flops == 0) continue; // nothing to do in this study
      plan.disk += overhead_of_files;
      if (stage.word != "extract") add_program(plan.memory); // extract counts its own
      plans.push_back(std::move(plan));
    }
  }
  return plans;
}

std::vector<std::string> not_counted(const study::Study& study, const std::vector<StagePlan>& plans, const cost::Machine& machine,
                                     const cost::Layout& layout) {
  const auto idle = stages_without_work(study);
  std::vector<std::string> words;
  for (const Stage& stage : stages())
    if (!stage.plan && std::find(idle.begin(), idle.end(), stage.word) == idle.end()) words.push_back(stage.word);
  for (const StagePlan& plan : plans)
    if (!predicted(plan, machine, layout)) words.push_back(plan.stage);
  return words;
}

std::optional<cost::Prediction> predicted(const StagePlan& stage, const cost::Machine& machine, const cost::Layout& layout) {
  const bool on_gpu = std::any_of(stage.cost.begin(), stage.cost.end(), [](const cost::Phase& phase) { return phase.on_gpu; });
  if (on_gpu && machine.gpus_a_node == 0) return std::nullopt;
  return cost::predict(stage.cost, machine, layout);
}

nlohmann::json json_of(const std::optional<cost::Prediction>& prediction) {
  if (!prediction) return nullptr;
  const cost::Parts& p = prediction->parts;
  return {{"seconds", p.total()},
          {"limit", prediction->limit},
          {"parts",
           {{"work", p.work},
            {"memory", p.memory},
            {"not_shared", p.alone},
            {"imbalance", p.imbalance},
            {"latency", p.latency},
            {"bandwidth", p.bandwidth},
            {"files", p.files}}}};
}

PlannedMachine planned_machine(const PlanOptions& options) {
  constexpr int usual_ranks_a_node = 64;
  PlannedMachine m;
  const bool given = !options.machine.empty();
  if (given) m.machine = cost::read_machine(options.machine);
  m.on_node = options.ranks_a_node;
  if (m.on_node == 0) m.on_node = given ? m.machine.ranks_a_node : options.nodes.empty() ? options.ranks : usual_ranks_a_node;
  if (options.nodes.empty()) m.on_node = std::min(m.on_node, options.ranks);
  if (!given) m.machine = cost::default_machine(m.on_node);
  require(m.on_node <= m.machine.ranks_a_node, ExitCode::config, "{} gives the rates of {} ranks a node, not of {}; calibrate with as many",
          options.machine.string(), m.machine.ranks_a_node, m.on_node);
  constexpr Index most_ranks = Index{1} << 24;
  for (const int nodes : options.nodes)
    require(Index{nodes} * m.on_node <= most_ranks, ExitCode::usage, "{} nodes of {} ranks are more than {} ranks; give fewer --nodes",
            nodes, m.on_node, most_ranks);
  return m;
}

void print_sizes(const study::Study& study, const PlanOptions& options, const PlannedMachine& m) {
  std::vector<std::vector<AtSize>> sizes;
  for (const int nodes : options.nodes) sizes.push_back(at_size(study, options, m, nodes));
  auto first = plan_sizes(study, m.on_node, m.on_node, options.tokens);
  const auto omitted = not_counted(study, stage_plans(first), m.machine, first.layout());
  if (options.json) {
    nlohmann::json lines = nlohmann::json::array();
    for (const auto& size : sizes)
      for (std::size_t s = 0; s < size.size(); ++s) {
        auto line = json_of(size[s].prediction);
        line.update({{"stage", size[s].stage}, {"nodes", size[s].nodes}, {"ranks", size[s].ranks}});
        if (size[s].prediction) line.update({{"node_hours", size[s].node_hours()}, {"efficiency", efficiency(sizes[0][s], size[s])}});
        lines.push_back(std::move(line));
      }
    say("{}",
        nlohmann::json{{"machine", m.machine.name}, {"source", m.machine.source}, {"sizes", lines}, {"not_counted", omitted}}.dump(2));
    return;
  }
  say("{:<12} {:>6} {:>8} {:>10} {:>12} {:>11}  {}", "stage", "nodes", "ranks", "time", "node-hours", "efficiency", "most of it");
  for (std::size_t s = 0; s < sizes[0].size(); ++s)
    for (const auto& size : sizes) {
      const AtSize& one = size[s];
      if (one.prediction && one.prediction->parts.total() == 0) continue; // extract, where later stages run the model (extract.fused)
      if (one.prediction)
        say("{:<12} {:>6} {:>8} {:>10} {:>12.2f} {:>11.2f}  {}", one.stage, one.nodes, one.ranks,
            human_seconds(one.prediction->parts.total()), one.node_hours(), efficiency(sizes[0][s], one), one.prediction->limit);
      else
        say("{:<12} {:>6} {:>8} {:>10} {:>12} {:>11}  {}", one.stage, one.nodes, one.ranks, "?", "?", "?", "the machine has no GPU");
    }
  if (!omitted.empty()) say("not in the sum: {}", join(omitted, ", "));
}

} // namespace concord::app
