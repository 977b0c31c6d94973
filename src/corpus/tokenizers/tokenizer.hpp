#pragma once
// The tokenizer of a study, and documents cut into contexts of its tokens. Local.

#include "corpus/text/token_pieces.hpp"
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace concord::corpus {

/// A token of a document, and the bytes of the document that it stands for. Tokens that share a character name the same bytes.
struct TextToken {
  std::int32_t id = 0;
  Index begin = 0;
  Index end = 0;
};

class Tokenizer {
public:
  using Take = std::function<void(const std::vector<TextToken>&)>;
  Tokenizer() = default;
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;
  virtual ~Tokenizer() = default;
  /// That opens contexts; -1: none does.
  virtual std::int32_t bos_id() const = 0;
  /// The text of each id, as SentencePiece would name it: a space is U+2581, a single byte <0xHH>.
  virtual const std::vector<std::string>& pieces() const = 0;
  /// Gives `take` the tokens of each document, in their order. @throws Error bad_data, unavailable.
  virtual void encode(const std::vector<std::string_view>& documents, const Take& take) = 0;
};

/// A SentencePiece model, or the tokenizer.json of a Hugging Face model. @param bos  as corpus.bos
/// @throws Error input_missing, bad_data, config (a token that it does not know), or unavailable.
std::unique_ptr<Tokenizer> open_tokenizer(const std::filesystem::path& path, const std::string& bos);

/// Whether a tokenizer is one of Hugging Face's, by its name.
bool is_tokenizer_json(const std::filesystem::path& path);

/// Adds a document in contexts of at most `context` tokens, each of which BOS opens.
void add_document(const std::vector<TextToken>& tokens, std::int32_t bos_id, Index context, TokenPiece& out);

} // namespace concord::corpus
