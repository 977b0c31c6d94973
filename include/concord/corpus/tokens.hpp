#pragma once
/// Tokens of a corpus in contexts, as `tokens.h5` holds them (docs/formats.md). Local.

#include "concord/core/index.hpp"
#include "concord/io/hdf5.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace concord::corpus {

/// Kind of a row (token) as activations and features carry it.
enum class RowKind : std::uint8_t { text = 0, bos = 1 };

/// All tokens in order. Context c is the rows [context_offsets[c], context_offsets[c + 1]).
struct Tokens {
  std::vector<std::int32_t> ids;
  std::vector<Index> context_offsets;
  std::vector<Index> context_document; ///< document of each context; empty when unknown
  std::vector<Index> byte_begin;       ///< byte range of each token in its document; empty when unknown
  std::vector<Index> byte_end;
  std::vector<std::string> pieces; ///< text of each token id; empty when no tokenizer was given
  std::int32_t bos_id = -1;        ///< id that opens contexts, -1 when none does
  std::string hash;                ///< digest of ids and context_offsets; models compared must share it

  Index count() const { return static_cast<Index>(ids.size()); }
  Index contexts() const { return static_cast<Index>(context_offsets.size()) - 1; }
  Index context_of(Index row) const;
  /// bos for the first row of each context when it is bos_id, else text.
  std::vector<std::uint8_t> row_kinds() const;
  std::string text_of(std::int32_t id) const;
};

/// Text of a token as read by people ("▁" is a space, "<0x0A>" its byte), from the text of each id; "#17" where that is not known.
std::string text_of_token(std::int32_t id, const std::vector<std::string>& pieces);

/// Digest of ids and context offsets.
std::string token_hash(const Tokens& tokens);

/// @throws Error input_missing or bad_data (another kind of file, ids and offsets that do not fit, wrong hash).
Tokens read_tokens(const std::filesystem::path& path);

/// Opens a tokens file. @throws Error input_missing, or bad_data for another kind of file.
io::File open_tokens(const std::filesystem::path& path);

/// The id that opens the contexts of a tokens file. @throws Error bad_data.
std::int32_t bos_id_of(const io::File& file);

/// Where the contexts lie, without the tokens.
struct Contexts {
  std::vector<Index> offsets;  ///< as Tokens::context_offsets
  std::vector<Index> document; ///< as Tokens::context_document
  std::string hash;
};
/// @throws Error input_missing or bad_data.
Contexts read_contexts(const std::filesystem::path& path);

} // namespace concord::corpus
