#pragma once
// Text -> tokens.h5, piece by piece: what a rank holds does not grow with the corpus. Collective over `comm`.

#include "concord/core/run/provenance.hpp"
#include "concord/corpus/text/text_files.hpp"
#include "concord/corpus/tokenize.hpp"

namespace concord::corpus {

/// What a tokens.h5 came to.
struct TokenCounts {
  Index tokens = 0;
  Index contexts = 0;
  std::string hash;
};

/// A tokenizer, the tokens.h5 that it makes, and under which key.
struct TextSide {
  TokenizeOptions::Side files;
  StageKey key;
  bool is_done = false; ///< the file is there already
};

/// What the first side's file came to. Stops between pieces; finished ones wait in `folder` for the next run, on any number of ranks.
TokenCounts tokenize_text(const comm::Communicator& comm, const TokenizeOptions& options, const std::vector<TextSide>& sides,
                          const std::filesystem::path& folder, std::vector<TextFile> files);

} // namespace concord::corpus
