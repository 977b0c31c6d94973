#pragma once
/// How a training takes its steps: on the CPU, or on a GPU of this rank's. Collective over the training's communicator.

#include "concord/sae/rows/row_feed.hpp"
#include "concord/sae/training/train.hpp"

#include "sae/training/folder/training_state.hpp"
#include <memory>

namespace concord::sae {

/// What the gradients of a step were made from.
struct StepSeen {
  const StepRows* rows; ///< of the batch, or this rank's
  StepMoments moments;  ///< of the batch
  double penalty;       ///< sum of lambda penalty over this rank's rows
  double norm;          ///< of the gradient
};

class Stepper {
public:
  Stepper() = default;
  Stepper(const Stepper&) = delete;
  Stepper& operator=(const Stepper&) = delete;
  virtual ~Stepper() = default;
  /// Takes weights and moments from the training's state: before the first step, and where others have changed them.
  virtual void load() {}
  /// Puts them back there.
  virtual void store() {}
  /// Forward and backward pass of a batch, whose rows are as stored; `dead` and `warmth` as Step::forward().
  virtual StepSeen make_gradients(Batch& batch, const std::vector<std::uint8_t>& dead, float warmth) = 0;
  /// Adam with these gradients times `scale`, and new weights for all ranks.
  virtual void move(double rate, double scale) = 0;
  /// " gpu_planned=... gpu_peak=..." where it computes on a GPU.
  virtual std::string gpu_memory() const { return ""; }
};

/// What a stepper works with; all must outlive it.
struct Training {
  const comm::Communicator& comm;
  const TrainOptions& options;
  std::vector<Index> parts; ///< widths of the models of a row
  Architecture& architecture;
  Exchange& exchange;
  TrainingState& state;
  Index k_aux() const { return options.aux_weight > 0 ? options.aux_k : 0; }
};

/// The one that options.device asks for. @throws Error config, or unavailable (no GPU, or too small a one); agreed.
std::unique_ptr<Stepper> make_stepper(const Training& training);
std::unique_ptr<Stepper> make_host_stepper(const Training& training);
std::unique_ptr<Stepper> make_gpu_stepper(const Training& training);

} // namespace concord::sae
