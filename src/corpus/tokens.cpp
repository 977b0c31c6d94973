#include "concord/corpus/tokens.hpp"

#include "concord/core/digest.hpp"
#include "concord/core/error.hpp"
#include "concord/io/hdf5.hpp"

#include <algorithm>
#include <charconv>
#include <limits>

namespace concord::corpus {

Index Tokens::context_of(Index row) const {
  const auto next = std::upper_bound(context_offsets.begin(), context_offsets.end(), row);
  return static_cast<Index>(next - context_offsets.begin()) - 1;
}

std::vector<std::uint8_t> Tokens::row_kinds() const {
  std::vector<std::uint8_t> kinds(ids.size(), static_cast<std::uint8_t>(RowKind::text));
  for (Index c = 0; c < contexts(); ++c) {
    const auto first = static_cast<std::size_t>(context_offsets[static_cast<std::size_t>(c)]);
    if (first < ids.size() && ids[first] == bos_id) kinds[first] = static_cast<std::uint8_t>(RowKind::bos);
  }
  return kinds;
}

std::string Tokens::text_of(std::int32_t id) const {
  return text_of_token(id, pieces);
}

std::string text_of_token(std::int32_t id, const std::vector<std::string>& pieces) {
  if (id < 0 || id >= static_cast<std::int32_t>(pieces.size())) return "#" + std::to_string(id);
  const std::string& piece = pieces[static_cast<std::size_t>(id)];
  if (piece.size() == 6 && piece.starts_with("<0x")) {
    int byte = 0;
    std::from_chars(piece.data() + 3, piece.data() + 5, byte, 16);
    return std::string(1, static_cast<char>(byte)); // braces would make it two characters
  }
  std::string text;
  const std::string space = "\xE2\x96\x81";
  for (std::size_t i = 0; i < piece.size();)
    if (piece.compare(i, space.size(), space) == 0) {
      text += ' ';
      i += space.size();
    } else {
      text += piece[i++];
    }
  return text;
}

std::string token_hash(const Tokens& tokens) {
  Digest digest;
  digest.add(std::span<const std::int32_t>(tokens.ids));
  digest.add(std::span<const Index>(tokens.context_offsets));
  return digest.hex();
}

io::File open_tokens(const std::filesystem::path& path) {
  const auto kind = path.extension();
  const bool array = kind == ".npy" || kind == ".npz" || kind == ".safetensors";
  require(!array || !std::filesystem::exists(path), ExitCode::bad_data,
          "{} is an array, no tokens file; of a .npy of ids make one with `concord tokenize --tokens IDS.npy --bos-id N --out tokens.h5`",
          path.string());
  io::File file = io::File::open(path);
  require(file.has_attribute("token_hash") && file.has("/tokens"), ExitCode::bad_data,
          "{} is no tokens file; make it with `concord tokenize`", path.string());
  return file;
}

std::int32_t bos_id_of(const io::File& file) {
  const Index id = file.integer("bos_id");
  require(id >= -1 && id <= std::numeric_limits<std::int32_t>::max(), ExitCode::bad_data,
          "{}: the attribute bos_id is {}, which is no token id", file.path().string(), id);
  return static_cast<std::int32_t>(id);
}

Tokens read_tokens(const std::filesystem::path& path) {
  const auto file = io::File::open(path);
  require(file.has_attribute("token_hash"), ExitCode::bad_data, "{} is no tokens file; make it with `concord tokenize`", path.string());
  Tokens tokens;
  tokens.ids = file.read<std::int32_t>("/tokens");
  tokens.context_offsets = file.read<Index>("/context_offsets");
  tokens.bos_id = bos_id_of(file);
  tokens.hash = file.attribute("token_hash");
  if (file.has("/context_document")) tokens.context_document = file.read<Index>("/context_document");
  if (file.has("/byte_begin")) {
    tokens.byte_begin = file.read<Index>("/byte_begin");
    tokens.byte_end = file.read<Index>("/byte_end");
  }
  if (file.has("/pieces")) tokens.pieces = file.read_strings("/pieces");
  require(tokens.context_offsets.size() >= 2 && tokens.context_offsets.front() == 0 && tokens.context_offsets.back() == tokens.count() &&
              std::is_sorted(tokens.context_offsets.begin(), tokens.context_offsets.end()),
          ExitCode::bad_data, "{}: context_offsets do not fit the tokens", path.string());
  const auto as_many = [](const std::vector<Index>& values, Index count) {
    return values.empty() || static_cast<Index>(values.size()) == count;
  };
  require(as_many(tokens.context_document, tokens.contexts()) && as_many(tokens.byte_begin, tokens.count()) &&
              tokens.byte_begin.size() == tokens.byte_end.size(),
          ExitCode::bad_data, "{}: context_document, byte_begin and byte_end do not fit the tokens", path.string());
  require(token_hash(tokens) == tokens.hash, ExitCode::bad_data, "{} is damaged: its tokens do not have the recorded hash", path.string());
  return tokens;
}

Contexts read_contexts(const std::filesystem::path& path) {
  const auto file = io::File::open(path);
  require(file.has_attribute("token_hash"), ExitCode::bad_data, "{} is no tokens file; make it with `concord tokenize`", path.string());
  Contexts contexts{file.read<Index>("/context_offsets"), {}, file.attribute("token_hash")};
  if (file.has("/context_document")) contexts.document = file.read<Index>("/context_document");
  require(contexts.offsets.size() >= 2 && contexts.offsets.front() == 0 &&
              std::is_sorted(contexts.offsets.begin(), contexts.offsets.end()) &&
              (contexts.document.empty() || contexts.document.size() + 1 == contexts.offsets.size()),
          ExitCode::bad_data, "{}: its contexts do not fit each other", path.string());
  return contexts;
}

} // namespace concord::corpus
