#pragma once
// What the plans of stages are made of: the sizes of a study before anything runs. Local.

#include "concord/core/machine/memory_plan.hpp"
#include "concord/cost/stages.hpp"
#include "concord/model/config.hpp"
#include "concord/study/study.hpp"

#include "app/plan/disk_plan.hpp"
#include <string>
#include <vector>

namespace concord::app {

/// What a stage takes.
struct StagePlan {
  std::string stage;
  double disk = 0;  ///< bytes written
  double flops = 0; ///< floating point operations
  MemoryPlan memory;
  std::vector<cost::Amount> unbroken = {}; ///< of a rank, between two looks for the stop signal: the longest of these
  double unbroken_seconds = 0;             ///< the same, of what is not arithmetic, and of units that are finished first
  double of_gpu = 0;                       ///< bytes that a rank takes of its GPU; 0: none
  std::vector<cost::Phase> cost = {};

  void add(const std::vector<cost::Phase>& phases) { cost.insert(cost.end(), phases.begin(), phases.end()); }
};

struct ModelPlan {
  study::Model model;
  model::ModelConfig config;
  double layers = 0;
  double parameters = 0; ///< of the blocks
  double run_layers = 0; ///< up to the last that is wanted
  double width() const { return static_cast<double>(config.hidden); }
};

struct PlanSizes {
  const study::Study& study;
  int ranks = 1;
  int on_node = 1; ///< ranks of a node
  double tokens = 0;
  double text_bytes = 0;
  double largest_text = 0; ///< bytes of the largest file of it
  std::vector<ModelPlan> models;
  DiskSizes disk;
  double matched = 1; ///< share of the latents that `compare` gets matched

  bool fused() const { return study.flag("extract.fused"); }
  int shards() const;
  cost::Layout layout() const { return {ranks, on_node}; }
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

/// The forward pass over so many tokens, for `extract`, or where a stage runs the model itself (extract.fused).
cost::ExtractSize forward_size(const PlanSizes& sizes, const ModelPlan& model, double tokens);

/// @param tokens  0: those of tokens.h5, else estimated from the text
/// @throws Error config or input_missing where a model's config.json cannot be read
PlanSizes plan_sizes(const study::Study& study, int ranks, int on_node, double tokens = 0);

} // namespace concord::app
