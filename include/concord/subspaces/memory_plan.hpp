#pragma once
/// What `subspaces` takes in memory (docs/memory.md). Local.

#include "concord/core/machine/memory_plan.hpp"
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
  double model = 0;   ///< bytes of the larger model's weights and of one context's way through it; 0: no effects
  int ranks = 1;
};
MemoryPlan subspaces_memory(const SubspacesSettings& settings, const SubspacesSize& size);

} // namespace concord::subspaces
