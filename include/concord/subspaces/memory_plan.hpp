#pragma once
/// What `subspaces` takes in memory (docs/memory.md), on disk and in its claim. Local.

#include "concord/core/machine/memory_plan.hpp"
#include "concord/model/config.hpp"
#include "concord/model/layer_range.hpp"
#include "concord/subspaces/settings.hpp"

namespace concord::subspaces {

/// What its bytes depend on.
struct SubspacesSize {
  double concepts = 32;
  double phrases = 0; ///< of the lists
  double layers = 1;  ///< of both models
  double latents = 0; ///< F of the wider SAE
  double active = 0;  ///< codes a row
  double d = 0;       ///< of the wider model
  double tokens = 0;  ///< of the corpus
  double contexts = 0;
  double heads = 0; ///< of the larger model
  double vocabulary = 0;
  double context = 0; ///< tokens of the longest
  double model = 0;   ///< bytes of the largest shard's weights and of one context's way through it; 0: no effects
  int shards = 1;     ///< ranks that share a model for effects
  int ranks = 1;
};
MemoryPlan subspaces_memory(const SubspacesSettings& settings, const SubspacesSize& size);
/// The blocks of shard `shard` of the `shards` that a model is cut into for effects. The last has the head, too.
/// @param longest tokens of the longest context
model::LayerRange blocks_of_shard(const model::ModelConfig& config, int shards, int shard, Index longest);
/// Bytes that effects take of a rank's GPU, at most: its blocks, a context's way through them, and so many changed rows at once.
double effects_gpu_bytes(const model::ModelConfig& config, model::LayerRange blocks, Dtype compute, Index longest, Index rows);

/// What else bytes on disk and the claim's time depend on.
struct SubspacesLayers {
  int layers_a = 1, layers_b = 1;
  int effect_layers_a = 1, effect_layers_b = 1;
  double meanings = 1; ///< measures of `similarity` that are looked at
};
/// Bytes of subspaces.h5, at most: with effects at as many occurrences as the settings allow. Of `size` only concepts and phrases count.
double subspaces_bytes(const SubspacesSettings& settings, const SubspacesSize& size, const SubspacesLayers& layers);
/// Operations on single numbers (no matrix products, some 1e9 a second on a core) of the claim's permutations, spread over ranks.
double claim_operations(const SubspacesSettings& settings, const SubspacesSize& size, const SubspacesLayers& layers);

} // namespace concord::subspaces
