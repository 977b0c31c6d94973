#pragma once
/// Stage `train-sae`: activations -> an SAE, or a crosscoder of two models' activations. Collective over `comm`.
///
/// Data-parallel: a global batch is the next rows of one counter-based permutation of all rows; each rank takes the rows
/// of it that it owns, and gradients are summed (exchange.hpp). With reduction "reproducible" the weights have the same bits at
/// any number of ranks and threads, and a run that was killed and continued, on other ranks too, ends in the bits of an
/// undisturbed one; with "fast" that holds for the same ranks. On GPUs (device_step.hpp) gradients are summed as with "fast",
/// through the host or by NCCL. Writes cfg.json and sae_weights.safetensors (SAELens 6), training.json (metrics, settings,
/// inputs) and training.jsonl (its course).

#include "concord/comm/session.hpp"
#include "concord/core/index.hpp"
#include "concord/sae/row_feed.hpp"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <optional>
#include <string>

namespace concord::sae {

struct TrainOptions {
  std::string activations;                ///< "acts.h5:/layer_003/x" or "x.npy"
  std::string with;                       ///< the same tokens' activations in another model: train a crosscoder of both
  std::string kind = "topk";              ///< topk, batch-topk, matryoshka, relu, gated or jumprelu (architecture.hpp)
  Index latents = 16384;                  ///< F
  int k = 64;                             ///< of the TopK kinds
  int prefixes = 5;                       ///< of matryoshka
  double sparsity = 0;                    ///< lambda of relu, gated and jumprelu; 0: the default of architecture.hpp
  double sparsity_warmup = 0.05;          ///< first part of the steps, over which lambda rises from 0
  std::string penalty = "step";           ///< of jumprelu: step or tanh
  double bandwidth = 0;                   ///< of jumprelu; 0: the default
  double threshold = 0;                   ///< of jumprelu, at the start; 0: the default
  std::string normalise = "sqrt-d";       ///< or "unit-square" or "none" (start.hpp)
  Index steps = 0;                        ///< 0: as many as `rows` needs
  Index rows = 500'000'000;               ///< rows seen in all, used when steps is 0
  Index batch = 4096;                     ///< rows of a global batch
  double learning_rate = 0;               ///< 0: the kind's, times sqrt(2^14 / F)
  Index warmup_steps = 1000;              ///< linear warm-up, at most a tenth of the steps
  double decay_fraction = 0.2;            ///< the last part of the steps, with linear decay to 0
  double clip = 1.0;                      ///< largest norm of the gradient
  double aux_weight = 1.0 / 32.0;         ///< alpha of AuxK; 0 turns it off
  int aux_k = 0;                          ///< 0: d / 2
  Index dead_after = 10'000'000;          ///< rows of all ranks without firing that make a latent dead
  double held_out = 0.02;                 ///< share of the rows kept for evaluation, at most 65,536 rows
  bool keep_special = false;              ///< also train on BOS rows
  double max_norm = 10;                   ///< in medians of the norms: longer rows are left out; 0: none (norm_limit.hpp)
  std::string order = "global";           ///< "global", or "buffer": windows of shuffled blocks, as when the model feeds the training
  std::string reduction = "reproducible"; ///< or "fast" (exchange.hpp)
  std::string device = "cpu";             ///< or "cuda" (device_step.hpp), or "torch": the GPU's code on the CPU, to check it
  std::string gpu_exchange = "auto"; ///< how GPU ranks sum gradients and share weights: "host" (MPI), "nccl", or this where each has a GPU
  bool allow_shared_gpu = false;     ///< several ranks on one GPU
  Index buffer_rows = 1 << 20;       ///< rows of all ranks in a window of the buffer
  double memory_gib = 4;             ///< rows a rank holds in memory; beyond it they are read in sorted windows
  double checkpoint_seconds = 300;
  std::uint64_t seed = 0;
  int models = 1; ///< of a study: its seed s, and a variant's seed=s, give model number `model` the seed models s + model
  int model = 0;
  std::optional<std::uint64_t> order_seed; ///< of the order of the rows, which variants share; seed where it is not given
  int layer = 0;                           ///< keys the random numbers and names the SAE
  std::string stage_word = "train-sae";
  std::filesystem::path out; ///< SAELens folder
  bool force = false;
};

/// Whether every option has a value that a training can have. Local. @throws Error config, naming the key.
void check(const TrainOptions& options);

/// One training in steps, on rows of any feed; train() of trainings.hpp is what most callers want.
class Trainer {
public:
  /// Collective over `comm`, like all that follows; `comm` and `feed` must outlive it. @throws Error config; agreed.
  Trainer(const comm::Communicator& comm, const TrainOptions& options, RowFeed& feed);
  ~Trainer();
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;
  /// Marks settings and rows: trainings with the same one are the same. Local.
  const std::string& digest() const;
  /// Whether the SAE is there already; unless it is, this run claims it until the trainer ends. Collective.
  /// @throws Error config when it was made with other settings, unless `force`, and when the output is or holds what no training wrote, in
  /// any case; or as io::Claim does.
  bool is_done();
  /// Takes memory and loads the checkpoint of an earlier run, if there is one.
  void prepare();
  Index step() const;  ///< steps done. Local.
  Index steps() const; ///< steps in all. Local.
  /// Trains until `end` steps are done.
  void run_to(Index end);
  void save_checkpoint();
  /// Evaluates on the held-out rows and writes the SAE.
  void finish();

private:
  class Work;
  std::unique_ptr<Work> work_;
};

} // namespace concord::sae
