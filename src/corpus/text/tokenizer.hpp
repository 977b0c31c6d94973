#pragma once
// The SentencePiece model of a study, and documents cut into contexts of its tokens. Local.

#include <sentencepiece_processor.h>

#include "corpus/text/token_pieces.hpp"
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace concord::corpus {

class Tokenizer {
public:
  /// @throws Error bad_data where the file is no SentencePiece model or has no BOS piece.
  void load(const std::filesystem::path& path);
  std::int32_t bos_id() const { return processor_.bos_id(); }
  std::vector<std::string> pieces() const;
  /// Adds a document in contexts of at most `context` tokens, each of which BOS opens.
  void add_document(std::string_view document, Index context, TokenPiece& out) const;

private:
  sentencepiece::SentencePieceProcessor processor_;
};

} // namespace concord::corpus
