#pragma once
/// Stage `encode` with the model inside: activations go from the forward pass straight into the SAEs and never reach the
/// disk. Collective over `comm`.

#include "concord/comm/session.hpp"
#include "concord/extract/options.hpp"
#include "concord/features/encode.hpp"

namespace concord::fused {

/// Gives the features that `extract` and `encode` through a file give, bit for bit. `encode.activations` and
/// `extract.out` are not used. A run that was stopped or killed goes on behind the blocks that are encoded.
/// @throws Error as extract and encode.
void encode(const comm::Communicator& comm, const extract::ExtractOptions& extract, const features::EncodeOptions& encode);

} // namespace concord::fused
