#pragma once
// Stages of a study at several numbers of nodes. Local.

#include "concord/app/plan/plan.hpp"
#include "concord/cost/phase.hpp"

#include <nlohmann/json.hpp>

#include "app/plan/plan_sizes.hpp"
#include <optional>
#include <string>
#include <vector>

namespace concord::app {

/// Of the stages that have something to do in the study.
std::vector<StagePlan> stage_plans(const PlanSizes& sizes);

/// What a stage takes on a machine; none where it wants GPUs that the machine has not.
std::optional<cost::Prediction> predicted(const StagePlan& stage, const cost::Machine& machine, const cost::Layout& layout);

/// Words of the stages with something to do that no sum holds: those that have no model of their cost, and those that want GPUs that the
/// machine has not.
std::vector<std::string> not_counted(const study::Study& study, const std::vector<StagePlan>& plans, const cost::Machine& machine,
                                     const cost::Layout& layout);

nlohmann::json json_of(const std::optional<cost::Prediction>& prediction);

/// The machine that the options name, and ranks of each of its nodes.
struct PlannedMachine {
  cost::Machine machine;
  int on_node = 1;
};
PlannedMachine planned_machine(const PlanOptions& options);

/// With options.nodes: a line for each stage and size.
void print_sizes(const study::Study& study, const PlanOptions& options, const PlannedMachine& machine);

} // namespace concord::app
