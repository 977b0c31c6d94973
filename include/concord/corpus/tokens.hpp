#pragma once
/// What a tokens.h5 holds beside its ids (docs/formats.md); TokenReader reads those. Local.

#include "concord/core/index.hpp"
#include "concord/io/hdf5.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace concord::corpus {

/// Text of a token as read by people ("▁" is a space, "<0x0A>" its byte), from the text of each id; "#17" where that is not known.
std::string text_of_token(std::int32_t id, const std::vector<std::string>& pieces);

/// Opens a tokens file. @throws Error input_missing, or bad_data for another kind of file.
io::File open_tokens(const std::filesystem::path& path);

/// The id that opens the contexts of a tokens file. @throws Error bad_data.
std::int32_t bos_id_of(const io::File& file);

/// Where the contexts lie, without the tokens.
struct Contexts {
  std::vector<Index> offsets;  ///< context c is the rows [offsets[c], offsets[c + 1])
  std::vector<Index> document; ///< of each context; empty when unknown
  std::string hash;            ///< digest of ids and offsets
  bool all_paired = true;      ///< no row is left out since other models have tokenizers of their own
};
/// @throws Error input_missing or bad_data.
Contexts read_contexts(const std::filesystem::path& path);

} // namespace concord::corpus
