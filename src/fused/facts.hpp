#pragma once
/// What `encode` must know of activations that only pass by. Local.

#include "concord/extract/extractor.hpp"
#include "concord/features/encode.hpp"

namespace concord::fused {

/// While `extractor` lives.
inline features::ActivationsFacts facts_of(const extract::Extractor& extractor) {
  const auto& tokens = extractor.tokens();
  features::ActivationsFacts facts;
  facts.layers = extractor.layers();
  facts.token_hash = tokens.hash();
  facts.row_hash = tokens.row_hash();
  facts.digest = extractor.key().digest();
  facts.rows = tokens.count();
  facts.row_kinds = [&tokens](Index begin, Index end) { return tokens.kinds_of_rows(begin, end); };
  facts.block_offsets = extractor.block_offsets();
  return facts;
}

} // namespace concord::fused
