#pragma once
/// What `tokenize` takes in memory (docs/memory.md). Local.

#include "concord/core/index.hpp"
#include "concord/core/machine/memory_plan.hpp"

namespace concord::corpus {

/// `piece_bytes` of text that a rank tokenizes at once, of `text_bytes` in all, by a tokenizer of `vocabulary` tokens; `longest` bytes of a
/// document, 0 where that is not known; `tokenizers`, where models have tokenizers of their own.
MemoryPlan tokenize_memory(Index piece_bytes, double text_bytes, double vocabulary, double longest, double tokenizers = 1);

} // namespace concord::corpus
