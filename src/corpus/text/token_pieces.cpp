#include "corpus/text/token_pieces.hpp"

#include "concord/comm/await_file.hpp"
#include "concord/core/error.hpp"
#include "concord/core/text.hpp"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <unistd.h>

namespace concord::corpus {

namespace fs = std::filesystem;

namespace {

template <typename T>
void put(std::ofstream& out, const std::vector<T>& values) {
  out.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(T)));
}

template <typename T>
std::vector<T> take(std::ifstream& in, Index count) {
  std::vector<T> values(static_cast<std::size_t>(count));
  in.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(T)));
  return values;
}

/// Opens a piece behind its size. @throws Error io.
std::ifstream open_piece(const fs::path& path, PieceSize& size) {
  comm::await_file_here(path);
  std::ifstream in(path, std::ios::binary);
  in.read(reinterpret_cast<char*>(&size), sizeof size);
  require(in.good(), ExitCode::io, "cannot read {}; run again", path.string());
  return in;
}

Index bytes_of(const PieceSize& size, bool with_kinds) {
  return static_cast<Index>(sizeof size) + (with_kinds ? 21 : 20) * size.tokens + 16 * size.contexts;
}

} // namespace

void write_piece(const fs::path& path, const TokenPiece& piece) {
  const fs::path temporary = path.string() + "." + std::to_string(::getpid());
  {
    std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
    const PieceSize size = piece.size();
    out.write(reinterpret_cast<const char*>(&size), sizeof size);
    put(out, piece.ids);
    put(out, piece.byte_begin);
    put(out, piece.byte_end);
    put(out, piece.context_ends);
    put(out, piece.context_document);
    put(out, piece.kinds);
    out.flush();
    require(out.good(), ExitCode::io, "cannot write {}: {}", temporary.string(), std::strerror(errno));
  }
  sync_path(temporary);
  std::error_code error;
  fs::rename(temporary, path, error);
  require(!error, ExitCode::io, "cannot rename {} to {}: {}", temporary.string(), path.string(), error.message());
}

std::optional<PieceSize> finished_piece(const fs::path& path, bool with_kinds) {
  std::error_code error;
  const auto bytes = fs::file_size(path, error);
  if (error) return std::nullopt;
  std::ifstream in(path, std::ios::binary);
  PieceSize size;
  in.read(reinterpret_cast<char*>(&size), sizeof size);
  if (!in.good() || bytes_of(size, with_kinds) != static_cast<Index>(bytes)) return std::nullopt;
  return size;
}

TokenPiece read_piece(const fs::path& path, bool with_kinds) {
  PieceSize size;
  auto in = open_piece(path, size);
  TokenPiece piece;
  piece.documents = size.documents;
  piece.ids = take<std::int32_t>(in, size.tokens);
  piece.byte_begin = take<Index>(in, size.tokens);
  piece.byte_end = take<Index>(in, size.tokens);
  piece.context_ends = take<Index>(in, size.contexts);
  piece.context_document = take<Index>(in, size.contexts);
  if (with_kinds) piece.kinds = take<std::uint8_t>(in, size.tokens);
  require(in.good(), ExitCode::io, "cannot read {}; run again", path.string());
  return piece;
}

std::vector<std::int32_t> read_piece_ids(const fs::path& path) {
  PieceSize size;
  auto in = open_piece(path, size);
  auto ids = take<std::int32_t>(in, size.tokens);
  require(in.good(), ExitCode::io, "cannot read {}; run again", path.string());
  return ids;
}

} // namespace concord::corpus
