#pragma once
// Contexts of one text as several tokenizers read it, and which of their tokens are of one row. Local.

#include "corpus/tokenizers/tokenizer.hpp"
#include <vector>

namespace concord::corpus {

/// The tokens of a document by one tokenizer, and what it opens contexts with.
struct TokensOfDocument {
  const std::vector<TextToken>& tokens;
  std::int32_t bos_id;
};

/// Adds a document in contexts of at most `context` tokens by each tokenizer; those of one number hold the same text. Contexts are cut
/// where tokens of all end at one byte. Tokens that end there are paired, as are BOS; all others are of kind unpaired. Text that none of
/// these cuts divides into contexts is left out. @param out  one a tokenizer
/// @returns the bytes of text that are left out.
Index add_common_document(const std::vector<TokensOfDocument>& sides, Index context, std::vector<TokenPiece>& out);

} // namespace concord::corpus
