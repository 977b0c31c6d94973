#pragma once
/// Settings of stage `extract`, and of all stages that run a model. Local.

#include "concord/core/settings.hpp"

namespace concord::extract {

struct ExtractSettings {
  Dtype dtype = Dtype::bf16;
  Dtype compute = Dtype::f32;
  Index batch = 32;
  bool loss = false;
  Device device = Device::automatic;
  bool allow_shared_gpu = false;
  int layer_shards = 1;
  bool fused = false;
  double memory_gib = 0;
  int compress = 0;
  double commit_seconds = 10;

  template <typename Self, typename Visit>
  static void describe(Self& s, Visit&& setting) {
    using namespace settings;
    setting("dtype", s.dtype, one_of({Dtype::f32, Dtype::f16, Dtype::bf16}), "type of stored activations");
    setting("compute", s.compute, one_of({Dtype::f32, Dtype::bf16}), "type of the forward pass");
    setting("batch", s.batch, within(1, largest_int), "contexts in one forward pass");
    setting("loss", s.loss, anything(), "also compute the mean next-token cross-entropy over the corpus");
    setting("device", s.device, one_of({Device::automatic, Device::cpu, Device::cuda}), "auto: a GPU when libtorch sees one",
            settings::Digest::ignored);
    setting("allow_shared_gpu", s.allow_shared_gpu, anything(), "let several ranks share a GPU", settings::Digest::ignored);
    setting("layer_shards", s.layer_shards, within(1, largest_int), "ranks that share one copy of the model, each with some of its layers",
            settings::Digest::ignored);
    setting("fused", s.fused, anything(), "never write activations.h5: train-sae and encode run the model themselves");
    setting("memory_gib", s.memory_gib, at_least(0), "memory a rank may take; 0: what its node has free, divided by the ranks there",
            settings::Digest::ignored);
    setting("compress", s.compress, within(0, 9), "level of deflate for the stored rows, 1 to 9; 0: none");
    setting("commit_seconds", s.commit_seconds, at_least(0),
            "time between commits; a kill loses at most that much. With extract.compress each is a file: take minutes",
            settings::Digest::ignored);
  }
};

} // namespace concord::extract
