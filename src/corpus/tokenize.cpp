#include "concord/corpus/tokenize.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/core/digest.hpp"
#include "concord/core/log.hpp"
#include "concord/core/progress.hpp"
#include "concord/core/text.hpp"
#include "concord/io/output.hpp"

#include "corpus/id_tokens.hpp"
#include "corpus/text/text_tokens.hpp"
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

StageKey key_of_ids(const comm::Communicator& comm, const TokenizeOptions& options) {
  StageKey key{"tokenize", settings::digest_of<CorpusSettings>(options), {}};
  key.inputs["token_ids"] = digest_of_ids(comm, options.token_ids);
  return key;
}

/// Whether a file begins with a byte order mark. Such files were once read with it; their tokens are others now.
bool has_mark(const TextFile& file) {
  std::ifstream in(file.path, std::ios::binary);
  char start[3] = {};
  return in.read(start, sizeof start) && std::string_view(start, sizeof start) == "\xEF\xBB\xBF";
}

StageKey key_of_text(const comm::Communicator& comm, const TokenizeOptions& options, const std::vector<TextFile>& files) {
  StageKey key{"tokenize", settings::digest_of<CorpusSettings>(options), {}};
  key.settings.erase("bos_id"); // the tokenizer has one of its own
  Index marks = 0;
  std::string tokenizer(32, ' ');
  comm::agree(comm, [&] {
    if (comm.rank() != 0) return;
    require(fs::exists(options.tokenizer), ExitCode::input_missing, "there is no tokenizer {}", options.tokenizer.string());
    tokenizer = digest_of_file(options.tokenizer);
    marks = std::count_if(files.begin(), files.end(), has_mark);
  });
  comm::broadcast_bytes(comm, tokenizer.data(), static_cast<Index>(tokenizer.size()));
  comm::broadcast_bytes(comm, &marks, sizeof marks);
  if (marks > 0) key.settings["byte_order_marks"] = "dropped";
  key.inputs["tokenizer"] = tokenizer;
  key.inputs["text"] = text_digest(comm, files);
  return key;
}

} // namespace

void tokenize(const comm::Communicator& comm, const TokenizeOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  const bool text = options.token_ids.empty();
  std::vector<TextFile> files;
  if (text) files = agreed_text_files(comm, options.paths);
  const StageKey key = text ? key_of_text(comm, options, files) : key_of_ids(comm, options);
  const auto claim = io::claim_unless_done(comm, options.out, key, options.force);
  if (!claim) {
    comm::agree(comm, [&] { // what a run left that ended between its file and its pieces
      if (comm.rank() == 0) std::filesystem::remove_all(options.out.string() + ".pieces");
    });
    log_info("tokenize: {} is done", options.out.string());
    return;
  }
  const TokenCounts counts = text ? tokenize_text(comm, options, key, std::move(files)) : copy_ids(comm, options, key);
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
