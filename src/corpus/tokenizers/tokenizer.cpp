#include "corpus/tokenizers/tokenizer.hpp"

#include "concord/core/error.hpp"

#include "corpus/tokenizers/sentence_piece.hpp"
#include "corpus/tokenizers/worker_tokenizer.hpp"
#include <algorithm>

namespace concord::corpus {

bool is_tokenizer_json(const std::filesystem::path& path) {
  return path.extension() == ".json";
}

std::unique_ptr<Tokenizer> open_tokenizer(const std::filesystem::path& path, const std::string& bos) {
  if (is_tokenizer_json(path)) return std::make_unique<WorkerTokenizer>(path, bos);
  return std::make_unique<SentencePieceTokenizer>(path, bos);
}

void add_document(const std::vector<TextToken>& tokens, std::int32_t bos_id, Index context, TokenPiece& out) {
  const auto count = static_cast<Index>(tokens.size());
  const auto add = [&](std::int32_t id, Index begin, Index end) {
    out.ids.push_back(id);
    out.byte_begin.push_back(begin);
    out.byte_end.push_back(end);
  };
  const Index text_tokens = bos_id >= 0 ? context - 1 : context;
  for (Index begin = 0; begin < count; begin += text_tokens) {
    const auto* const first = tokens.data() + begin;
    if (bos_id >= 0) add(bos_id, first->begin, first->begin);
    std::for_each(first, tokens.data() + std::min(count, begin + text_tokens),
                  [&](const TextToken& token) { add(token.id, token.begin, token.end); });
    out.context_ends.push_back(static_cast<Index>(out.ids.size()));
    out.context_document.push_back(out.documents);
  }
}

} // namespace concord::corpus
