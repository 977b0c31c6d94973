#include "corpus/text/tokenizer.hpp"

#include "concord/core/error.hpp"

#include <algorithm>
#include <exception>

/// SentencePiece and libtorch each export an object of this name, of 32 and of 4 bytes, and the loader gives both the first that it finds.
/// With libtorch's, SentencePiece wrote over the flags behind it, and each allocation that failed in libtorch aborted. This one has room
/// for both.
extern "C" {
alignas(64) extern char FLAGS_minloglevel[64]; // NOLINT(readability-identifier-naming)
alignas(64) char FLAGS_minloglevel[64] = {};   // NOLINT(readability-identifier-naming)
}

namespace concord::corpus {

void Tokenizer::load(const std::filesystem::path& path) {
  std::string trouble;
  try {
    const auto status = processor_.Load(path.string());
    if (!status.ok()) trouble = status.ToString();
  } catch (const std::exception& error) { // of the libraries in SentencePiece, which it does not catch
    trouble = error.what();
  }
  require(trouble.empty(), ExitCode::bad_data, "{} is no SentencePiece model: {}", path.string(), trouble);
  require(processor_.bos_id() >= 0, ExitCode::bad_data, "{} has no BOS piece", path.string());
}

std::vector<std::string> Tokenizer::pieces() const {
  std::vector<std::string> pieces;
  pieces.reserve(static_cast<std::size_t>(processor_.GetPieceSize()));
  for (int id = 0; id < processor_.GetPieceSize(); ++id) pieces.push_back(processor_.IdToPiece(id));
  return pieces;
}

void Tokenizer::add_document(std::string_view document, Index context, TokenPiece& out) const {
  const auto encoded = processor_.EncodeAsImmutableProto(document);
  const auto n = static_cast<Index>(encoded.pieces_size());
  const Index text_tokens = context - 1;
  for (Index begin = 0; begin < n; begin += text_tokens) {
    const Index end = std::min(n, begin + text_tokens);
    const auto at = static_cast<Index>(encoded.pieces(static_cast<int>(begin)).begin());
    out.ids.push_back(bos_id());
    out.byte_begin.push_back(at);
    out.byte_end.push_back(at);
    for (Index i = begin; i < end; ++i) {
      const auto piece = encoded.pieces(static_cast<int>(i));
      out.ids.push_back(static_cast<std::int32_t>(piece.id()));
      out.byte_begin.push_back(static_cast<Index>(piece.begin()));
      out.byte_end.push_back(static_cast<Index>(piece.end()));
    }
    out.context_ends.push_back(static_cast<Index>(out.ids.size()));
    out.context_document.push_back(out.documents);
  }
}

} // namespace concord::corpus
