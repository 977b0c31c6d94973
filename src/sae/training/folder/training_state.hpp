#pragma once
/// All that a training is besides its data: weights, Adam's moments, counters and position, and its checkpoint. Collective where it says
/// so.

#include "sae/step/exchange.hpp"
#include "sae/step/optimizer.hpp"
#include <filesystem>
#include <string>

namespace concord::sae {

struct TrainingState {
  FlatParameters parameters;           ///< of all latents
  Adam adam;                           ///< of this rank's
  std::vector<float> rows_since_fired; ///< in global batches (times batch: rows); f32 is exact below 2^24
  Index step = 0;
  std::vector<double> scales;  ///< training sees s x, one s a model
  std::vector<double> medians; ///< of the norms of unscaled rows, one a model
  Index left_out = 0;          ///< rows that were too long for the steps so far, of all ranks
  TrainingState(FlatParameters weights, Index share, double beta1)
      : parameters(std::move(weights)), adam(parameters.d, share, parameters.scalars, beta1),
        rows_since_fired(static_cast<std::size_t>(parameters.latents), 0.0F) {}
};

/// Writes a checkpoint with the architecture's own state; `note` marks what training it belongs to. Rank 0 holds the moments of one rank's
/// latents at a time. Collective. @throws Error io; agreed.
void save_checkpoint(const comm::Communicator& comm, const std::filesystem::path& path, const TrainingState& state,
                     const Architecture& architecture, const std::string& note);
/// Reads one, for the latents that this rank owns now. `parts`: models that the rows come from. Local. @throws Error bad_data.
void load_checkpoint(const std::filesystem::path& path, std::size_t parts, TrainingState& state, Architecture& architecture,
                     const Exchange& exchange);
/// Every node holds its own copy of the weights; sums that differed between ranks would let them drift apart unseen. Collective. @throws
/// Error internal; agreed.
void require_same_weights(const comm::Communicator& comm, const TrainingState& state, const std::string& stage_word);

} // namespace concord::sae
