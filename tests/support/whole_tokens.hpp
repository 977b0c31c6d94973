#pragma once
// A tokens.h5 as a whole, which the program itself never holds.

#include "concord/core/digest.hpp"
#include "concord/corpus/token_reader.hpp"
#include "concord/corpus/tokens.hpp"

#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace concord::test {

/// Context c is the rows [context_offsets[c], context_offsets[c + 1]).
struct Tokens {
  std::vector<std::int32_t> ids;
  std::vector<Index> context_offsets;
  std::vector<Index> context_document; ///< empty when unknown
  std::vector<Index> byte_begin;       ///< byte range of each token in its document; empty when unknown
  std::vector<Index> byte_end;
  std::vector<std::string> pieces; ///< text of each token id; empty when no tokenizer was given
  std::int32_t bos_id = -1;
  std::string hash;

  Index count() const { return static_cast<Index>(ids.size()); }
  Index contexts() const { return static_cast<Index>(context_offsets.size()) - 1; }
};

/// What a tokens.h5 of these ids and offsets records.
inline std::string token_hash(const Tokens& tokens) {
  Digest digest;
  digest.add(std::span<const std::int32_t>(tokens.ids));
  digest.add(std::span<const Index>(tokens.context_offsets));
  return digest.hex();
}

/// Read and checked by the program's own readers.
inline Tokens read_tokens(const std::filesystem::path& path) {
  const corpus::TokenReader reader(path);
  reader.check();
  const auto file = corpus::open_tokens(path);
  Tokens tokens;
  tokens.ids = reader.ids(0, reader.count());
  tokens.context_offsets = reader.context_offsets();
  tokens.context_document = corpus::read_contexts(path).document;
  if (file.has("/byte_begin")) {
    tokens.byte_begin = file.read<Index>("/byte_begin");
    tokens.byte_end = file.read<Index>("/byte_end");
  }
  if (file.has("/pieces")) tokens.pieces = file.read_strings("/pieces");
  tokens.bos_id = reader.bos_id();
  tokens.hash = reader.hash();
  return tokens;
}

} // namespace concord::test
