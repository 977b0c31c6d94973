#include "concord/extract/memory_plan.hpp"

#include "concord/core/error.hpp"
#include "concord/core/machine/memory.hpp"
#include "concord/dist/layer_shards.hpp"
#include "concord/model/transformer.hpp"

#include <algorithm>
#include <numeric>

namespace concord::extract {

std::vector<int> wanted_layers(const ExtractOptions& options, const model::ModelConfig& config) {
  std::vector<int> layers = options.layers;
  if (layers.empty()) {
    layers.resize(static_cast<std::size_t>(config.layers));
    std::iota(layers.begin(), layers.end(), 0);
  }
  for (const int layer : layers)
    require(layer >= -1 && layer < config.layers, ExitCode::config, "layer {} does not exist: {} has layers 0 to {} (-1 is the embedding)",
            layer, options.model.string(), config.layers - 1);
  std::sort(layers.begin(), layers.end());
  layers.erase(std::unique(layers.begin(), layers.end()), layers.end());
  return layers;
}

std::vector<Index> shard_cuts(const model::ModelConfig& config, const ExtractOptions& options, Index longest) {
  const int last = options.loss ? config.layers - 1 : wanted_layers(options, config).back();
  std::vector<double> costs;
  for (int layer = 0; layer <= last; ++layer) costs.push_back(model::block_flops(config, layer, longest));
  if (options.loss) costs.back() += model::head_flops(config);
  return dist::balanced_cuts(costs, options.layer_shards);
}

MemoryPlan memory_plan(RankMemory memory, const std::string& stage) {
  MemoryPlan plan(stage);
  plan.each_rank("program, libraries, and where contexts begin", "170 MiB + 30 MiB (n - 1) + 8 C", memory.base);
  if (memory.on_gpu) memory.weights = memory.working = 0;
  plan.each_rank("weights of its layers", "v_c parameters, and the rows of the embedding that occur", memory.weights);
  plan.at_most();
  plan.each_rank("forward pass of a block", "v_c (2 x d + the larger of attention and MLP)", memory.working);
  plan.each_rank("rows on their way to the disk and to the next shard", "4 x d v + 3 x d v_c", memory.buffers);
  return plan;
}

RankMemory rank_memory(const model::ModelConfig& config, const ExtractOptions& options, int shard, Index rows, Index longest,
                       Index contexts, int threads, bool on_gpu) {
  const auto cuts = shard_cuts(config, options, longest);
  const auto s = static_cast<std::size_t>(shard);
  const bool last = shard == options.layer_shards - 1;
  const model::LayerRange range{static_cast<int>(cuts[s]), static_cast<int>(cuts[s + 1]), options.loss && last};
  const auto layers = wanted_layers(options, config);
  const auto mine =
      std::count_if(layers.begin(), layers.end(), [&](int l) { return (l >= range.first && l < range.end) || (l == -1 && shard == 0); });
  const double row = static_cast<double>(config.hidden);
  const auto n = static_cast<double>(rows);
  RankMemory memory;
  memory.on_gpu = on_gpu;
  memory.base = base_memory + (threads - 1) * thread_memory + 8.0 * static_cast<double>(contexts);
  memory.weights = model::weight_bytes(config, range, options.compute, on_gpu);
  memory.working = on_gpu ? model::gpu_working_bytes(config, range, options.compute, rows, std::min(options.batch, contexts), longest)
                          : model::working_bytes(config, range, options.compute, rows, longest, threads);
  // One block of a layer is filled while others wait for the disk.
  memory.buffers = n * row * static_cast<double>(size_of(options.dtype)) * static_cast<double>(mine > 0 ? blocks_waiting + 1 : 0);
  const double message = n * row * static_cast<double>(size_of(options.compute));
  if (options.layer_shards > 1) memory.buffers += message * ((shard > 0 ? 1 : 0) + (last ? 0 : 2));
  return memory;
}

} // namespace concord::extract
