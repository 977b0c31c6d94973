#pragma once
// The texts of the contexts of a tokens.h5, put together from its tokens' pieces, so that they are there for any tokenizer. Local.
//
// What is held is the vocabulary, 16 bytes a context, and some MB of ids, however long the corpus. A piece stands for its text as
// corpus::text_of_token() reads it; <unk>, [UNK] and ids without a piece stand for U+FFFD, which no phrase holds. Pieces of SentencePiece
// and of tokenizer.json are understood.

#include "concord/core/index.hpp"
#include "concord/corpus/token_reader.hpp"

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace concord::concepts {

/// A context with the text around it in its document, as far as it may tell where words end.
struct ContextText {
  Index document = 0;
  std::string text;
  Index begin = 0; ///< the context's own text is bytes [begin, end)
  Index end = 0;
  Index first_row = 0;           ///< of its first token with a text: behind BOS
  std::vector<Index> token_ends; ///< of each token from first_row on, in the text; a token begins where the one before it ends
  /// Where token `i` from first_row begins in the text.
  Index token_begin(std::size_t i) const { return i == 0 ? begin : token_ends[i - 1]; }
};

class ContextTexts {
public:
  /// @throws Error input_missing, or bad_data where the file has no pieces or is no tokens file.
  explicit ContextTexts(const std::filesystem::path& path);
  Index contexts() const { return reader_.contexts(); }
  /// Calls `visit` for each of the contexts [begin, end), in order. Leaves off early where `enough` says so, which is asked some times a
  /// second.
  void each(Index begin, Index end, const std::function<void(const ContextText&)>& visit, const std::function<bool()>& enough) const;

private:
  Index offset(Index context) const { return reader_.context_offsets()[static_cast<std::size_t>(context)]; }
  Index document(Index context) const { return document_.empty() ? context : document_[static_cast<std::size_t>(context)]; }
  class Window;
  corpus::TokenReader reader_;
  std::vector<Index> document_;    ///< of each context; empty: each is a document of its own
  std::vector<std::string> texts_; ///< of each token id
};

} // namespace concord::concepts
