#pragma once
/// How much of a model's next-token prediction an SAE keeps: the model is run with the residual stream behind a layer replaced.
///   recovered = (CE_zero - CE_sae) / (CE_zero - CE_clean),
/// CE the mean next-token cross-entropy in nats of the model as it is (clean), with the SAE's reconstructions in the place of the rows
/// behind the layer (sae), and with zeros there. BOS rows, on which SAEs are not trained, stay as they are in all three.

#include "concord/comm/session.hpp"
#include "concord/extract/options.hpp"

#include <filesystem>
#include <string>

namespace concord::fused {

struct RecoveredOptions {
  std::string saes;          ///< folder of layer_LLL folders, or a path with {layer}; layers without an SAE there are left out
  Index contexts = 64;       ///< about so many, evenly over the corpus, in whole blocks of extract.batch
  std::filesystem::path out; ///< JSON: clean, and for each layer sae, zero, recovered
};

/// Runs on any grid of replicas x layer shards; sums have the same bits on all. Does nothing when `out` is there for the same inputs.
/// Stops between blocks; the next run goes on from `out`.partial.
/// Collective over `comm`. @throws Error input_missing (no SAE for any layer), bad_data, config, unavailable, io, stopped; agreed.
void cross_entropy_recovered(const comm::Communicator& comm, const extract::ExtractOptions& extract, const RecoveredOptions& options);

} // namespace concord::fused
