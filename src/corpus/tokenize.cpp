#include "concord/corpus/tokenize.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/core/digest.hpp"
#include "concord/core/log.hpp"
#include "concord/core/progress.hpp"
#include "concord/core/text.hpp"
#include "concord/io/output.hpp"

#include "corpus/id_tokens.hpp"
#include "corpus/text/text_digests.hpp"
#include "corpus/text/text_tokens.hpp"
#include "corpus/tokenizers/tokenizer.hpp"
#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>

namespace concord::corpus {

namespace fs = std::filesystem;

namespace {

/// Rank 0 looks for the files and says which they are; the others are told.
std::vector<TextFile> agreed_text_files(const comm::Communicator& comm, const std::vector<std::string>& paths) {
  std::vector<char> packed;
  comm::agree(comm, [&] {
    if (comm.rank() != 0) return;
    const TextFiles found = find_text_files(paths);
    Index bytes = 0;
    for (const auto& file : found.files) {
      bytes += file.size;
      const std::string path = file.path.string();
      packed.insert(packed.end(), path.begin(), path.end());
      packed.push_back('\0');
      const auto* size = reinterpret_cast<const char*>(&file.size);
      packed.insert(packed.end(), size, size + sizeof file.size);
    }
    log_info("tokenize: {} text files, {}, in the order of their paths from {} to {}", found.files.size(),
             human_bytes(static_cast<double>(bytes)), found.files.front().path.string(), found.files.back().path.string());
    if (found.repeated > 0) log_info("tokenize: {} files were named more than once; each is read once", found.repeated);
    for (const auto& link : found.skipped)
      log_warn("tokenize: {} is a link to a folder and is not followed; add it to corpus.paths to read it", link.string());
  });
  comm::broadcast(comm, packed);
  std::vector<TextFile> files;
  for (std::size_t at = 0; at < packed.size();) {
    TextFile file;
    file.path = std::string(packed.data() + at);
    at += file.path.native().size() + 1;
    std::memcpy(&file.size, packed.data() + at, sizeof file.size);
    at += sizeof file.size;
    files.push_back(std::move(file));
  }
  return files;
}

/// The settings, as older versions said them.
StageKey key_of_settings(const TokenizeOptions& options) {
  StageKey key{"tokenize", settings::digest_of<CorpusSettings>(options), {}};
  if (options.bos == CorpusSettings().bos) key.settings.erase("bos");
  return key;
}

StageKey key_of_ids(const comm::Communicator& comm, const TokenizeOptions& options) {
  StageKey key = key_of_settings(options);
  key.inputs["token_ids"] = digest_of_ids(comm, options.token_ids);
  return key;
}

/// Whether a file begins with a byte order mark. Such files were once read with it; their tokens are others now.
bool has_mark(const TextFile& file) {
  std::ifstream in(file.path, std::ios::binary);
  char start[3] = {};
  return in.read(start, sizeof start) && std::string_view(start, sizeof start) == "\xEF\xBB\xBF";
}

/// Of its file; of a tokenizer.json with the files beside it that may name its BOS.
std::string digest_of_tokenizer(const fs::path& path) {
  require(fs::exists(path), ExitCode::input_missing, "there is no tokenizer {}", path.string());
  require(!fs::is_directory(path), ExitCode::bad_data, "{} is a folder; name its tokenizer.model or tokenizer.json", path.string());
  std::string all = digest_of_file(path);
  if (!is_tokenizer_json(path)) return all;
  for (const char* name : {"config.json", "generation_config.json", "tokenizer_config.json"})
    if (const fs::path beside = path.parent_path() / name; fs::exists(beside)) all += digest_of_file(beside);
  return digest_of(std::string_view(all));
}

/// Which tokens a file holds hangs on all tokenizers of the run, and on which of them is its own.
StageKey key_of_text(const comm::Communicator& comm, const TokenizeOptions& options, const std::vector<fs::path>& tokenizers,
                     std::size_t own, const std::vector<TextFile>& files, const std::string& text) {
  StageKey key = key_of_settings(options);
  key.settings.erase("bos_id"); // of arrays alone
  Index marks = 0;
  std::vector<std::string> digests(tokenizers.size(), std::string(32, ' '));
  comm::agree(comm, [&] {
    if (comm.rank() != 0) return;
    for (std::size_t i = 0; i < tokenizers.size(); ++i) digests[i] = digest_of_tokenizer(tokenizers[i]);
    marks = std::count_if(files.begin(), files.end(), has_mark);
  });
  for (auto& digest : digests) comm::broadcast_bytes(comm, digest.data(), static_cast<Index>(digest.size()));
  comm::broadcast_bytes(comm, &marks, sizeof marks);
  if (marks > 0) key.settings["byte_order_marks"] = "dropped";
  key.inputs["tokenizer"] = digests[own];
  if (digests.size() > 1) key.inputs["tokenizers"] = digests;
  key.inputs["text"] = text;
  return key;
}

TokenCounts copy_unless_done(const comm::Communicator& comm, const TokenizeOptions& options, bool& is_done) {
  const StageKey key = key_of_ids(comm, options);
  const auto claim = io::claim_unless_done(comm, options.out, key, options.force);
  is_done = !claim;
  return claim ? copy_ids(comm, options, key) : TokenCounts();
}

TokenCounts tokenize_unless_done(const comm::Communicator& comm, const TokenizeOptions& options, bool& is_done) {
  auto files = agreed_text_files(comm, options.paths);
  const std::string text = text_digest(comm, files);
  std::vector<TextSide> sides;
  sides.push_back({{options.tokenizer, options.out}, {}});
  for (const auto& beside : options.beside) sides.push_back({beside, {}});
  std::vector<fs::path> tokenizers;
  tokenizers.reserve(sides.size());
  for (const auto& side : sides) tokenizers.push_back(side.files.tokenizer);
  std::vector<io::Claim> claims;
  for (std::size_t s = 0; s < sides.size(); ++s) {
    sides[s].key = key_of_text(comm, options, tokenizers, s, files, text);
    auto claim = io::claim_unless_done(comm, sides[s].files.out, sides[s].key, options.force);
    sides[s].is_done = !claim;
    if (claim) claims.push_back(std::move(*claim));
  }
  is_done = claims.empty();
  const fs::path pieces = options.out.string() + ".pieces";
  if (!is_done) return tokenize_text(comm, options, sides, pieces, std::move(files));
  comm::agree(comm, [&] { // what a run left that ended between its files and its pieces
    if (comm.rank() == 0) fs::remove_all(pieces);
  });
  return {};
}

} // namespace

void tokenize(const comm::Communicator& comm, const TokenizeOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  const bool text = options.token_ids.empty();
  comm::agree(comm, [&] {
    require(text || options.beside.empty(), ExitCode::config,
            "token_ids made elsewhere are of one tokenizer; give text for models of several");
    require(text || options.bos == CorpusSettings().bos, ExitCode::config, "corpus.bos is for a tokenizer; of token_ids set corpus.bos_id");
  });
  bool is_done = false;
  const TokenCounts counts = text ? tokenize_unless_done(comm, options, is_done) : copy_unless_done(comm, options, is_done);
  if (is_done) {
    log_info("tokenize: {} is done", options.out.string());
    return;
  }
  const double wall = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  say_stage_ok("tokenize", wall, fmt::format("tokens={} contexts={} hash={}", counts.tokens, counts.contexts, counts.hash),
               options.out.string());
}

fs::path tokens_file(const comm::Communicator& comm, const fs::path& given, std::int32_t bos_id, const fs::path& folder, bool force) {
  const auto extension = given.extension();
  if (extension != ".npy" && extension != ".npz" && extension != ".safetensors") return given;
  TokenizeOptions options;
  options.token_ids = given;
  options.bos_id = bos_id;
  options.out = folder / (given.stem().string() + ".tokens.h5");
  options.force = force;
  tokenize(comm, options);
  return options.out;
}

} // namespace concord::corpus
