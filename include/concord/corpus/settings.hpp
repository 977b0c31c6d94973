#pragma once
/// Settings of stage `tokenize`, of table [corpus]. Local.

#include "concord/core/settings.hpp"

namespace concord::corpus {

/// What separates documents: lines that hold nothing but white space, or the ends of files.
enum class DocumentEnd { blank_line, file };

struct CorpusSettings {
  std::vector<std::string> paths;
  std::filesystem::path tokenizer;
  std::filesystem::path token_ids;
  std::string bos = "auto";
  std::int32_t bos_id = 2;
  DocumentEnd documents = DocumentEnd::blank_line;
  Index context = 1024;
  Index max_tokens = 0;

  template <typename Self, typename Visit>
  static void describe(Self& s, Visit&& setting) {
    using namespace settings;
    setting("paths", s.paths, location(), "text files, folders of .txt files, or patterns");
    setting("tokenizer", s.tokenizer, anything(),
            "that both models share: a SentencePiece model (tokenizer.model), or a tokenizer.json beside its model's config.json");
    setting("token_ids", s.token_ids, anything(),
            "instead of text: token ids [contexts, length] (.npy, .npz, .safetensors), or a tokens.h5, made elsewhere");
    setting("bos", s.bos, anything(),
            "with a tokenizer: the token that opens contexts, or none; auto: its own, or what the model's files name");
    setting("bos_id", s.bos_id, within(0, largest_int), "with token_ids of an array: the id that opens contexts");
    setting("documents", s.documents, one_of<DocumentEnd>(), "what separates documents");
    setting("context", s.context, within(2, largest_int), "longest context in tokens, BOS included; contexts never span documents");
    setting("max_tokens", s.max_tokens, within(0, largest_index), "stop behind the last context that fits; 0: the whole corpus");
  }
};

} // namespace concord::corpus

namespace concord::settings {
template <>
struct WordsOf<corpus::DocumentEnd> {
  static constexpr std::array<const char*, 2> words{"blank-line", "file"};
};
} // namespace concord::settings
