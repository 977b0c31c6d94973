#pragma once
// Files that the tests of concepts read.

#include "concord/core/text.hpp"
#include "concord/io/hdf5.hpp"

#include "support/support.hpp"
#include "support/whole_tokens.hpp"
#include <algorithm>
#include <cstdlib>

namespace concord::test {

inline std::filesystem::path source() {
  const char* folder = std::getenv("CONCORD_SOURCE");
  require(folder != nullptr, ExitCode::input_missing, "CONCORD_SOURCE is not set; run the test through ctest");
  return folder;
}

/// A file of this content, NAME.tsv in a folder of its own. Collective.
inline std::filesystem::path written(const std::string& name, const std::string& text) {
  const auto path = empty_folder("table_" + name) / (name + ".tsv");
  if (world().rank() == 0) write_text_atomic(path, text);
  world().barrier();
  return path;
}

/// A context by its tokens' pieces.
struct PieceContext {
  Index document = 0;
  std::vector<std::string> pieces;
};

/// A tokens.h5 of such contexts; "<bos>" opens contexts. Collective.
inline std::filesystem::path token_file(const std::string& name, const std::vector<PieceContext>& contexts, bool with_documents = true) {
  const auto path = empty_folder("tokens_" + name) / "tokens.h5";
  if (world().rank() == 0) {
    Tokens tokens;
    tokens.pieces = {"<unk>", "<bos>"};
    tokens.context_offsets = {0};
    for (const auto& context : contexts) {
      for (const auto& piece : context.pieces) {
        auto at = std::find(tokens.pieces.begin(), tokens.pieces.end(), piece);
        if (at == tokens.pieces.end()) at = tokens.pieces.insert(at, piece);
        tokens.ids.push_back(static_cast<std::int32_t>(at - tokens.pieces.begin()));
      }
      tokens.context_offsets.push_back(tokens.count());
      tokens.context_document.push_back(context.document);
    }
    auto file = io::File::create(path);
    file.write("/tokens", tokens.ids);
    file.write("/context_offsets", tokens.context_offsets);
    if (with_documents) file.write("/context_document", tokens.context_document);
    file.write_strings("/pieces", tokens.pieces);
    file.write_attribute("token_hash", token_hash(tokens));
    file.write_attribute("bos_id", "1");
  }
  world().barrier();
  return path;
}

} // namespace concord::test
