#pragma once
// What the plans of stages are made of: the sizes of a study before anything runs. Local.

#include "concord/core/memory_plan.hpp"
#include "concord/model/config.hpp"
#include "concord/study/study.hpp"

#include "app/disk_plan.hpp"
#include <string>
#include <vector>

namespace concord::app {

/// What a stage takes.
struct StagePlan {
  std::string stage;
  double disk = 0; ///< bytes written
  double flops = 0;
  MemoryPlan memory;
  double unbroken_flops = 0;   ///< of a rank, between two looks for the stop signal
  double unbroken_seconds = 0; ///< the same, of what is not arithmetic, and of units that are finished first
  double of_gpu = 0;           ///< bytes that a rank takes of its GPU; 0: none
};

struct ModelPlan {
  study::Model model;
  model::ModelConfig config;
  double layers = 0;
  double parameters = 0; ///< of the blocks
  double width() const { return static_cast<double>(config.hidden); }
};

struct PlanSizes {
  const study::Study& study;
  int ranks = 1;
  int on_node = 1; ///< ranks of a node
  double tokens = 0;
  double text_bytes = 0;
  std::vector<ModelPlan> models;
  DiskSizes disk;

  bool fused() const { return study.flag("extract.fused"); }
  int shards() const;
  /// Layers of a shard.
  int of_shard(double layers) const { return (static_cast<int>(layers) + shards() - 1) / shards(); }
  /// Groups of `size` ranks that a node has.
  int groups_on_node(int size) const { return (on_node + size - 1) / size; }
  double value() const; ///< bytes of a number of the residual stream in its file
  double latents() const { return static_cast<double>(study.integer("sae.latents")); }
  double active() const { return static_cast<double>(study.integer("sae.k")); }
  double context() const { return static_cast<double>(study.integer("corpus.context")); }
  double batch() const { return static_cast<double>(study.integer("sae.batch")); }
  double steps() const; ///< of a training
  /// Ranks that train one SAE together.
  int ranks_of_training() const;
  double vocabulary() const; ///< of the model that has most, since the tokenizer is not read
  const ModelPlan& plan_of(const study::Model& model) const { return models[static_cast<std::size_t>(model.number)]; }
};

/// Seconds of a unit of work that is finished before a stage stops (comm::StopWithin).
constexpr double grace = 5;
constexpr double read_a_second = 1e8; ///< bytes of a file, by one rank

/// @throws Error config or input_missing where a model cannot be read
PlanSizes plan_sizes(const study::Study& study, int ranks, int on_node);

} // namespace concord::app
