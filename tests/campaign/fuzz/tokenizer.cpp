// SentencePiece models, and a document through what was loaded.
#include "corpus/tokenizers/sentence_piece.hpp"
#include "fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace concord;
  const auto path = fuzz::file("tokenizer.model", fuzz::text_of(data, size));
  fuzz::expect_error_or_result([&] {
    corpus::SentencePieceTokenizer tokenizer(path, "auto");
    corpus::TokenPiece piece;
    tokenizer.encode({"The caf\xC3\xA9  opens at 9. \xE6\x97\xA5\xE6\x9C\xAC \xF0\x9F\x98\x80\n\tIt closes."},
                     [&](const std::vector<corpus::TextToken>& tokens) { corpus::add_document(tokens, tokenizer.bos_id(), 8, piece); });
  });
  return 0;
}
