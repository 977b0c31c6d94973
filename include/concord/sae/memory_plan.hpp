#pragma once
/// What training, loading and using an SAE take in memory (docs/memory.md). Local.

#include "concord/core/machine/memory_plan.hpp"
#include "concord/sae/training/train.hpp"

#include <string>

namespace concord::sae {

/// The activations that an SAE is trained on, and who trains it.
struct TrainingSize {
  double rows = 0;    ///< of the file
  Index d = 0;        ///< of all models together
  double value = 2;   ///< bytes of a stored value
  int models = 1;     ///< more than one: a crosscoder
  int ranks = 1;      ///< that train it together
  int trainings = 1;  ///< side by side on the same rows: 1 and its variants
  int layers = 1;     ///< at once: with fused extraction those of a shard
  int threads = 1;    ///< of a rank
  bool fused = false; ///< rows come from the model and lie in a window
};
MemoryPlan training_memory(const TrainOptions& options, const TrainingSize& size);
/// What to change where that does not fit, since `largest` of its arrays takes most. Local.
std::string training_advice(const TrainOptions& options, const TrainingSize& size, const MemoryItem& largest);

/// Adds an SAE of `latents` on width d that lies once a node, and its encoder's rounded weights.
void add_sae_on_nodes(MemoryPlan& plan, double latents, double d);

/// What a row is searched for: its k largest latents, or all above a limit, of which there are `active`.
enum class Search { largest, above };
/// Adds what threads hold of the rows that they search, `rows` at most: it stays with them.
void add_search_rows(MemoryPlan& plan, Search search, double threads, double rows, double d, double active);

/// Bytes that each of `ranks` ranks takes of its GPU to train an SAE on rows of width d. Local.
double gpu_training_bytes(const TrainOptions& options, Index d, int ranks);

} // namespace concord::sae
