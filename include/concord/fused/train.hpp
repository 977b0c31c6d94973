#pragma once
/// Stage `train-sae` with the model inside: activations go from the forward pass through a buffer in memory into the
/// training of all layers at once and never reach the disk. Collective over `comm`.

#include "concord/comm/session.hpp"
#include "concord/extract/options.hpp"
#include "concord/sae/training/train.hpp"

#include <functional>

namespace concord::fused {

/// Fills windows of `buffer_rows` rows (sae/buffer_order.hpp) by running the model, and trains every layer on each; the
/// layers of different shards train side by side. `options` gives the settings of a layer's training; its `activations`
/// are not used. Variants (sae/trainings.hpp) of each layer's training draw from the same windows. With the same ranks the SAEs are those
/// that train-sae makes of the activations file with sae.order = "buffer", bit for bit. A run that was stopped or killed goes on behind the
/// last checkpoints.
/// @throws Error as extract and train-sae.
void train(const comm::Communicator& comm, const extract::ExtractOptions& extract,
           const std::function<sae::TrainOptions(int layer)>& options, const std::vector<std::string>& variants);

} // namespace concord::fused
