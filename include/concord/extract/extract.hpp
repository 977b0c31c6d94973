#pragma once
/// Stage `extract`: tokens + model weights -> activations.h5, the residual stream of the chosen layers. Collective over
/// `comm`.

#include "concord/comm/session.hpp"
#include "concord/extract/options.hpp"

namespace concord::extract {

/// The rows of a block (extractor.hpp) of every layer are written beside the computation by the rank that ran the layer.
/// Each block of each layer has its own commit mark, its checksum, in the file; a run that was stopped or killed goes on
/// with the blocks that lack one, on any number of ranks and shards.
/// @throws Error input_missing, bad_data, config, unavailable, io, stopped.
void extract(const comm::Communicator& comm, const ExtractOptions& options);

} // namespace concord::extract
