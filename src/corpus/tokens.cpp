#include "concord/corpus/tokens.hpp"

#include "concord/core/error.hpp"

#include <algorithm>
#include <charconv>
#include <limits>

namespace concord::corpus {

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

io::File open_tokens(const std::filesystem::path& path) {
  const auto kind = path.extension();
  const bool array = kind == ".npy" || kind == ".npz" || kind == ".safetensors";
  require(!array || !std::filesystem::exists(path), ExitCode::bad_data,
          "{} is an array, no tokens file; of a .npy of ids make one with `concord tokenize --tokens IDS.npy --bos-id N --out tokens.h5`",
          path.string());
  io::File file = io::File::open(path);
  require(file.has_attribute("token_hash") && file.has("/tokens"), ExitCode::bad_data,
          "{} is no tokens file; make it with `concord tokenize`", path.string());
  file.dataset("/tokens", {-1}); // refuses a table: readers count on one id a row
  return file;
}

std::int32_t bos_id_of(const io::File& file) {
  const Index id = file.integer("bos_id");
  require(id >= -1 && id <= std::numeric_limits<std::int32_t>::max(), ExitCode::bad_data,
          "{}: the attribute bos_id is {}, which is no token id", file.path().string(), id);
  return static_cast<std::int32_t>(id);
}

Contexts read_contexts(const std::filesystem::path& path) {
  const auto file = io::File::open(path);
  require(file.has_attribute("token_hash"), ExitCode::bad_data, "{} is no tokens file; make it with `concord tokenize`", path.string());
  Contexts contexts{file.read<Index>("/context_offsets", {-1}), {}, file.attribute("token_hash"), !file.has("/row_kind")};
  if (file.has("/context_document")) contexts.document = file.read<Index>("/context_document", {-1});
  require(contexts.offsets.size() >= 2 && contexts.offsets.front() == 0 &&
              std::is_sorted(contexts.offsets.begin(), contexts.offsets.end()) &&
              (contexts.document.empty() || contexts.document.size() + 1 == contexts.offsets.size()),
          ExitCode::bad_data, "{}: its contexts do not fit each other", path.string());
  return contexts;
}

} // namespace concord::corpus
