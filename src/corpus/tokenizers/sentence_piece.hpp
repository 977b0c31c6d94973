#pragma once
// Tokenizers of SentencePiece. Local.

#include <sentencepiece_processor.h>

#include "corpus/tokenizers/tokenizer.hpp"

namespace concord::corpus {

class SentencePieceTokenizer final : public Tokenizer {
public:
  /// @throws Error bad_data where the file is no SentencePiece model or has no BOS piece, config where it has not the one asked for.
  SentencePieceTokenizer(const std::filesystem::path& path, const std::string& bos);
  std::int32_t bos_id() const override { return bos_id_; }
  const std::vector<std::string>& pieces() const override { return pieces_; }
  void encode(const std::vector<std::string_view>& documents, const Take& take) override;

private:
  std::int32_t bos_of(const std::filesystem::path& path, const std::string& bos) const;
  sentencepiece::SentencePieceProcessor processor_;
  std::int32_t bos_id_ = -1;
  std::vector<std::string> pieces_;
};

} // namespace concord::corpus
