#pragma once
/// Settings of stage `train-sae`, of table [sae]. Local.

#include "concord/core/settings.hpp"

namespace concord::sae {

/// What makes the codes of an SAE sparse (architecture.hpp).
enum class Kind { topk, batch_topk, matryoshka, relu, gated, jumprelu };
/// What a JumpReLU SAE's penalty counts: steps (L0) or their smooth neighbour.
enum class Penalty { step, tanh };
/// What rows are multiplied by before training, one number a model, E over a sample: E|s x| = sqrt(d) (sqrt_d: Anthropic, SAELens),
/// E|s x|^2 = 1 (unit_square: Gemma Scope, dictionary_learning) or 1 (none). The models of a crosscoder get the same norm, sqrt of half
/// their common width or 1, so that none outvotes another and equal decoder norms mean an equal part.
enum class Normalisation { sqrt_d, unit_square, none };
/// How ranks sum gradients (exchange.hpp): the same bits at any number of ranks, or faster.
enum class Reduction { reproducible, fast };
/// How GPU ranks share sums and weights: through MPI, by NCCL, or by NCCL where it is built in and each rank has a GPU of its own.
enum class GpuExchange { automatic, host, nccl };
/// One random order over all rows, or windows of shuffled blocks.
enum class Order { global, buffer };

} // namespace concord::sae

namespace concord::settings {
template <>
struct WordsOf<sae::Kind> {
  static constexpr std::array<const char*, 6> words{"topk", "batch-topk", "matryoshka", "relu", "gated", "jumprelu"};
};
template <>
struct WordsOf<sae::Penalty> {
  static constexpr std::array<const char*, 2> words{"step", "tanh"};
};
template <>
struct WordsOf<sae::Normalisation> {
  static constexpr std::array<const char*, 3> words{"sqrt-d", "unit-square", "none"};
};
template <>
struct WordsOf<sae::Reduction> {
  static constexpr std::array<const char*, 2> words{"reproducible", "fast"};
};
template <>
struct WordsOf<sae::GpuExchange> {
  static constexpr std::array<const char*, 3> words{"auto", "host", "nccl"};
};
template <>
struct WordsOf<sae::Order> {
  static constexpr std::array<const char*, 2> words{"global", "buffer"};
};
} // namespace concord::settings

namespace concord::sae {

/// Of one training.
struct TrainSettings {
  Kind kind = Kind::topk;
  Index latents = 16384;
  int k = 64;
  int prefixes = 5;
  double sparsity = 0;
  double sparsity_warmup = 0.05;
  Penalty penalty = Penalty::step;
  double bandwidth = 0;
  double threshold = 0;
  Normalisation normalise = Normalisation::sqrt_d;
  Index steps = 0;
  Index rows = 500'000'000;
  Index batch = 4096;
  double learning_rate = 0;
  Index warmup_steps = 1000;
  double decay_fraction = 0.2;
  double clip = 1;
  double aux_weight = 1.0 / 32.0;
  int aux_k = 0;
  Index dead_after = 10'000'000;
  double held_out = 0.02;
  bool keep_special = false;
  double max_norm = 10;
  Reduction reduction = Reduction::reproducible;
  Device device = Device::cpu;
  GpuExchange gpu_exchange = GpuExchange::automatic;
  bool allow_shared_gpu = false;
  Order order = Order::global;
  Index buffer_rows = 1 << 20;
  double memory_gib = 4;
  double checkpoint_seconds = 300;

  template <typename Self, typename Visit>
  static void describe(Self& s, Visit&& setting) {
    using namespace settings;
    setting("kind", s.kind, one_of<Kind>(), "what makes the codes sparse");
    setting("latents", s.latents, within(1, largest_int), "F, latents of each SAE");
    setting("k", s.k, within(1, largest_int), "active latents of a row, of the TopK kinds (batch-topk and matryoshka: on average)");
    setting("prefixes", s.prefixes, within(1, 30), "matryoshka: nested SAEs of F, F/2, F/4, ... latents");
    setting("sparsity", s.sparsity, at_least(0),
            "relu, gated, jumprelu: weight of the penalty; 0: by the norm n of the rows: 0.08 n (L1), 6e-4 n^2 (jumprelu's L0), "
            "2.5e-3 n^2 (its tanh)");
    setting("sparsity_warmup", s.sparsity_warmup, within(0, 1), "first part of the steps, over which sae.sparsity rises from 0");
    setting("penalty", s.penalty, one_of<Penalty>(), "jumprelu: L0, or its smooth neighbour");
    setting("bandwidth", s.bandwidth, at_least(0),
            "jumprelu: width of the rectangle that thresholds learn through; 0: 0.001 n (tanh: 0.03 n)");
    setting("threshold", s.threshold, at_least(0), "jumprelu: thresholds at the start; 0: 0.001 n (tanh: 0.0015 n)");
    setting("normalise", s.normalise, one_of<Normalisation>(),
            "scale of training: mean norm sqrt(d), mean squared norm 1, or the rows' own; folded into the saved SAE");
    setting("steps", s.steps, within(0, largest_index), "training steps; 0: as many as sae.rows needs");
    setting("rows", s.rows, within(1, largest_index), "rows seen in all when steps is 0 (several passes when the corpus is smaller)");
    setting("batch", s.batch, within(1, largest_int), "rows of a global batch, all ranks together");
    setting("learning_rate", s.learning_rate, at_least(0), "Adam's step size; 0: 2e-4 (jumprelu: 7e-5) / sqrt(F / 2^14)");
    setting("warmup_steps", s.warmup_steps, within(0, largest_index), "linear warm-up, at most a tenth of the steps");
    setting("decay_fraction", s.decay_fraction, within(0, 1), "last part of the steps, with linear decay to 0");
    setting("clip", s.clip, positive(), "largest norm of the gradient");
    setting("aux_weight", s.aux_weight, at_least(0), "weight of the AuxK loss that revives dead latents; 0: off");
    setting("aux_k", s.aux_k, within(0, largest_int), "dead latents AuxK uses a row; 0: d / 2");
    setting("dead_after", s.dead_after, within(1, largest_index), "rows, over all ranks, without firing that make a latent dead");
    setting("held_out", s.held_out, Allowed{.high = 0.9, .below_high = true}, "share of rows kept for evaluation (at most 65,536)");
    setting("keep_special", s.keep_special, anything(), "also train on BOS rows");
    setting("max_norm", s.max_norm, at_least(0),
            "rows longer than this many medians of the layer's norms (attention sinks) are left out of training and evaluation; 0: none");
    setting("reduction", s.reduction, one_of<Reduction>(), "how ranks sum gradients: the same bits at any number of ranks, or faster",
            settings::Digest::ignored);
    setting("device", s.device, one_of({Device::cpu, Device::cuda, Device::torch}),
            "cuda: one GPU a rank, with sae.reduction = \"fast\"; torch: the GPU's code on the CPU, to check it",
            settings::Digest::ignored);
    setting(
        "gpu_exchange", s.gpu_exchange, one_of<GpuExchange>(),
        "how GPU ranks share sums and weights: host is MPI, nccl needs a GPU each, auto is nccl where it is built in and each rank has a "
        "GPU",
        settings::Digest::ignored);
    setting("allow_shared_gpu", s.allow_shared_gpu, anything(), "let several ranks train on one GPU", settings::Digest::ignored);
    setting("order", s.order, one_of<Order>(),
            "global: one random order over all rows; buffer: windows of shuffled blocks, as with extract.fused");
    setting("buffer_rows", s.buffer_rows, within(1, largest_index), "rows of all ranks in a window of the buffer");
    setting("memory_gib", s.memory_gib, at_least(0), "rows a rank holds in memory; beyond it they are read in sorted windows",
            settings::Digest::ignored);
    setting(
        "checkpoint_seconds", s.checkpoint_seconds, at_least(0),
        "time between checkpoints; a kill loses at most that much of training (with extract.fused the model runs over its window again)",
        settings::Digest::ignored);
  }
};

/// Of a study's trainings together.
struct TrainingsSettings {
  int groups = 1;
  Index recovered_contexts = 64;
  std::vector<std::string> crosscoders;
  std::vector<std::string> variants;

  template <typename Self, typename Visit>
  static void describe(Self& s, Visit&& setting) {
    using namespace settings;
    setting("groups", s.groups, within(1, largest_int),
            "groups of ranks that train layers side by side; 1: all ranks train one layer after the other", settings::Digest::ignored);
    setting("recovered_contexts", s.recovered_contexts, within(0, largest_index),
            "contexts on which the model runs with each SAE spliced in, for the cross-entropy recovered, in whole batches of "
            "extract.batch; 0: none");
    setting("crosscoders", s.crosscoders, anything(),
            "pairs of a layer of A and one of B, [\"3:5\"], on which to train a crosscoder: one SAE over the rows of both");
    setting("variants", s.variants, anything(),
            "also train these on the same rows, each batch read once: [\"k=32\", \"latents=4096 seed=2\"]");
  }
};

} // namespace concord::sae
