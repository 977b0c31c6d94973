#pragma once
// The tokens of one piece of the corpus, as they wait in a folder beside tokens.h5 until their place in it is known.

#include "concord/core/index.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

namespace concord::corpus {

/// How much a piece holds.
struct PieceSize {
  Index documents = 0;
  Index contexts = 0;
  Index tokens = 0;
};

/// Contexts and documents count from the piece's first; context_ends are the rows behind each context.
struct TokenPiece {
  std::vector<std::int32_t> ids;
  std::vector<Index> byte_begin;
  std::vector<Index> byte_end;
  std::vector<std::uint8_t> kinds; ///< io::RowKind of the tokens, where models have tokenizers of their own; else empty
  std::vector<Index> context_ends;
  std::vector<Index> context_document;
  Index documents = 0;
  PieceSize size() const { return {documents, static_cast<Index>(context_ends.size()), static_cast<Index>(ids.size())}; }
};

/// Written under another name, synced and renamed: under its own name a piece is whole. Local. @throws Error io.
void write_piece(const std::filesystem::path& path, const TokenPiece& piece);
/// The size of a piece that an earlier run finished. Local.
std::optional<PieceSize> finished_piece(const std::filesystem::path& path, bool with_kinds);
/// @throws Error io.
TokenPiece read_piece(const std::filesystem::path& path, bool with_kinds);
/// The ids alone. @throws Error io.
std::vector<std::int32_t> read_piece_ids(const std::filesystem::path& path);

} // namespace concord::corpus
