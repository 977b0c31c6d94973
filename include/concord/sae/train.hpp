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
#include "concord/sae/settings.hpp"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <optional>
#include <string>

namespace concord::sae {

struct TrainOptions : TrainSettings {
  std::string activations; ///< "acts.h5:/layer_003/x" or "x.npy"
  std::string with;        ///< the same tokens' activations in another model: train a crosscoder of both
  std::uint64_t seed = 0;
  int models = 1; ///< of a study: its seed s, and a variant's seed=s, give the model of stream `model` the seed models s + model
  std::uint64_t model = 0;
  std::optional<std::uint64_t> order_seed; ///< of the order of the rows, which variants share; seed where it is not given
  int layer = 0;                           ///< keys the random numbers and names the SAE
  std::string stage_word = "train-sae";
  std::filesystem::path out; ///< SAELens folder
  bool force = false;
};

/// Whether every option has a value that a training can have. Local. @throws Error config, naming the key.
void check(const TrainOptions& options);
/// k_aux: dead latents that AuxK uses a row, of a model of width d. Local.
Index dead_latents_a_row(const TrainSettings& settings, Index d);

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
