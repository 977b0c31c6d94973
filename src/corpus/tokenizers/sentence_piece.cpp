#include "corpus/tokenizers/sentence_piece.hpp"

#include "concord/core/error.hpp"

#include <exception>

/// SentencePiece and libtorch each export an object of this name, of 32 and of 4 bytes, and the loader gives both the first that it finds.
/// With libtorch's, SentencePiece wrote over the flags behind it, and each allocation that failed in libtorch aborted. This one has room
/// for both.
extern "C" {
alignas(64) extern char FLAGS_minloglevel[64]; // NOLINT(readability-identifier-naming)
alignas(64) char FLAGS_minloglevel[64] = {};   // NOLINT(readability-identifier-naming)
}

namespace concord::corpus {

SentencePieceTokenizer::SentencePieceTokenizer(const std::filesystem::path& path, const std::string& bos) {
  std::string trouble;
  try {
    const auto status = processor_.Load(path.string());
    if (!status.ok()) trouble = status.ToString();
  } catch (const std::exception& error) { // of the libraries in SentencePiece, which it does not catch
    trouble = error.what();
  }
  require(trouble.empty(), ExitCode::bad_data, "{} is no SentencePiece model: {}", path.string(), trouble);
  bos_id_ = bos_of(path, bos);
  pieces_.reserve(static_cast<std::size_t>(processor_.GetPieceSize()));
  for (int id = 0; id < processor_.GetPieceSize(); ++id) pieces_.push_back(processor_.IdToPiece(id));
}

std::int32_t SentencePieceTokenizer::bos_of(const std::filesystem::path& path, const std::string& bos) const {
  if (bos == "none") return -1;
  if (bos == "auto") {
    require(processor_.bos_id() >= 0, ExitCode::bad_data, "{} has no BOS piece; set corpus.bos to a piece that opens contexts, or to none",
            path.string());
    return processor_.bos_id();
  }
  const int id = processor_.PieceToId(bos); // that of <unk> for a piece that is not there
  require(processor_.IdToPiece(id) == bos, ExitCode::config, "corpus.bos: {} has no piece {}", path.string(), bos);
  return id;
}

void SentencePieceTokenizer::encode(const std::vector<std::string_view>& documents, const Take& take) {
  std::vector<TextToken> tokens;
  for (const auto document : documents) {
    const auto encoded = processor_.EncodeAsImmutableProto(document);
    tokens.clear();
    for (std::size_t i = 0; i < encoded.pieces_size(); ++i) {
      const auto piece = encoded.pieces(static_cast<int>(i));
      tokens.push_back({static_cast<std::int32_t>(piece.id()), static_cast<Index>(piece.begin()), static_cast<Index>(piece.end())});
    }
    take(tokens);
  }
}

} // namespace concord::corpus
