#pragma once
// Token ids made elsewhere -> tokens.h5, some MB at a time. Collective over `comm`.

#include "concord/core/run/provenance.hpp"
#include "concord/corpus/tokenize.hpp"

#include "corpus/text/text_tokens.hpp"

namespace concord::corpus {

/// Copies options.token_ids, an array [contexts, length] (.npy, .npz, .safetensors) or a tokens.h5, to options.out by rank 0 alone, which
/// holds a piece of it and 8 bytes a context of a tokens.h5. @throws Error input_missing, bad_data (bad ids, damaged), config (max_tokens
/// below the first context), io, stopped; agreed.
TokenCounts copy_ids(const comm::Communicator& comm, const TokenizeOptions& options, const StageKey& key);

} // namespace concord::corpus
