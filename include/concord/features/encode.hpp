#pragma once
/// Stage `encode`: activations + SAEs -> features.h5 (sparse rows and statistics of every layer). Collective over `comm`.

#include "concord/comm/session.hpp"
#include "concord/core/index.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace concord::features {

struct EncodeOptions {
  std::filesystem::path activations; ///< activations.h5
  std::string saes;                  ///< folder of layer_LLL folders, or a path with {layer}
  std::vector<int> layers;           ///< empty: all layers of the activations
  Index top = 20;                    ///< strongest activations kept a feature
  bool keep_special = false;         ///< also encode BOS rows
  std::string stage_word = "encode";
  std::filesystem::path out; ///< features.h5; each layer goes to a file of its own beside it
  bool force = false;
};

/// Rows are encoded in blocks of fixed composition that are spread over ranks, so any number of ranks computes the same
/// features. Each layer becomes `OUT.layers/layer_LLL.h5`, committed when whole; `OUT` links them. A rerun continues with
/// the first layer that is not there.
/// @throws Error input_missing, bad_data (an SAE of another width, activations that are not finite), config, io, stopped; agreed.
void encode(const comm::Communicator& comm, const EncodeOptions& options);

} // namespace concord::features
