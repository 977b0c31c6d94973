#pragma once
/// Stage `tokenize`: text files -> tokens.h5. Collective over `comm`.

#include "concord/comm/session.hpp"
#include "concord/corpus/settings.hpp"
#include "concord/corpus/tokens.hpp"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <string>
#include <vector>

namespace concord::corpus {

/// Either `paths` with `tokenizer`, or `token_ids`.
struct TokenizeOptions : CorpusSettings {
  /// A tokenizer and the tokens.h5 that it makes.
  struct Side {
    std::filesystem::path tokenizer, out;
  };
  std::filesystem::path out;
  /// Where models have tokenizers of their own: these read the same text beside `tokenizer`.
  std::vector<Side> beside;
  bool force = false;
  Index piece_bytes = Index{4} << 20; ///< text that a rank tokenizes between looks for the stop signal; the tokens do not depend on it
};

/// Where several tokenizers read the text, context c of each tokens.h5 holds the same text, tokens of all that end at one byte are rows of
/// one number among the counted ones, and all others are unpaired (io::RowKind).
/// Ranks share the text by bytes and hold one piece of it at a time, beside its tokens (and the longest document); BOS opens each context
/// and no context spans two documents. Writes `out`, or does nothing when it is already there with the same settings and inputs.
/// @throws Error input_missing, bad_data (no text, not UTF-8, bad ids), config, io or stopped: finished
/// pieces wait in `out`.pieces for the next run; agreed.
void tokenize(const comm::Communicator& comm, const TokenizeOptions& options);

/// `given` itself, but for token ids [contexts, length] of an array (.npy, .npz, .safetensors): the tokens.h5 that tokenize() makes of them
/// in `folder`, NAME.tokens.h5; one that was made of other ids is replaced where `force`. @throws as tokenize().
std::filesystem::path tokens_file(const comm::Communicator& comm, const std::filesystem::path& given, std::int32_t bos_id,
                                  const std::filesystem::path& folder, bool force);

} // namespace concord::corpus
