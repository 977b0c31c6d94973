#include "concord/corpus/tokenize.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/core/digest.hpp"
#include "concord/core/log.hpp"
#include "concord/core/progress.hpp"
#include "concord/core/text.hpp"
#include "concord/io/npy.hpp"
#include "concord/io/output.hpp"

#include "corpus/text_tokens.hpp"
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

/// Drops contexts behind the last that fits.
void cut(Tokens& tokens, Index max_tokens) {
  if (max_tokens <= 0 || tokens.count() <= max_tokens) return;
  while (tokens.contexts() > 0 && tokens.context_offsets.back() > max_tokens) tokens.context_offsets.pop_back();
  const auto rows = static_cast<std::size_t>(tokens.context_offsets.back());
  tokens.ids.resize(rows);
  if (!tokens.byte_begin.empty()) tokens.byte_begin.resize(rows);
  if (!tokens.byte_end.empty()) tokens.byte_end.resize(rows);
  if (!tokens.context_document.empty()) tokens.context_document.resize(static_cast<std::size_t>(tokens.contexts()));
}

Tokens from_ids(const TokenizeOptions& options) {
  if (options.token_ids.extension() == ".h5") {
    Tokens tokens = read_tokens(options.token_ids);
    cut(tokens, options.max_tokens);
    return tokens;
  }
  const auto array = io::read_npy(options.token_ids);
  require(array.shape.size() == 2 && array.shape[0] > 0 && array.shape[1] > 1, ExitCode::bad_data,
          "{} must be an integer array [contexts, length]", options.token_ids.string());
  const auto ids = array.as_index();
  Tokens tokens;
  tokens.context_offsets.push_back(0);
  for (Index c = 0; c < array.shape[0]; ++c) {
    for (Index i = 0; i < array.shape[1]; ++i) {
      const Index id = ids[static_cast<std::size_t>(c * array.shape[1] + i)];
      require(id >= 0 && id < (Index{1} << 31), ExitCode::bad_data, "{}: context {} holds the token id {}", options.token_ids.string(), c,
              id);
      tokens.ids.push_back(static_cast<std::int32_t>(id));
    }
    tokens.context_offsets.push_back(tokens.count());
  }
  cut(tokens, options.max_tokens);
  tokens.bos_id = options.bos_id;
  const auto kinds = tokens.row_kinds();
  const auto with_bos = std::count(kinds.begin(), kinds.end(), static_cast<std::uint8_t>(RowKind::bos));
  if (with_bos != tokens.contexts())
    log_warn("{} of {} contexts do not open with the BOS id {}", tokens.contexts() - with_bos, tokens.contexts(), options.bos_id);
  return tokens;
}

StageKey key_of_ids(const TokenizeOptions& options) {
  StageKey key{"tokenize", settings::digest_of<CorpusSettings>(options), {}};
  key.inputs["token_ids"] = digest_of_file(options.token_ids);
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

void write_layout(io::File& file, const Tokens& tokens) {
  file.write("/tokens", tokens.ids);
  file.write("/context_offsets", tokens.context_offsets);
  if (!tokens.context_document.empty()) file.write("/context_document", tokens.context_document);
  if (!tokens.byte_begin.empty()) {
    file.write("/byte_begin", tokens.byte_begin);
    file.write("/byte_end", tokens.byte_end);
  }
  if (!tokens.pieces.empty()) file.write_strings("/pieces", tokens.pieces);
  file.write_attribute("token_hash", tokens.hash);
  file.write_attribute("bos_id", std::to_string(tokens.bos_id));
}

/// Token ids made elsewhere; rank 0 alone holds them.
TokenCounts copy_ids(const comm::Communicator& comm, const TokenizeOptions& options, const StageKey& key) {
  Tokens tokens;
  comm::agree(comm, [&] {
    if (comm.rank() != 0) return;
    tokens = from_ids(options);
    require(tokens.contexts() > 0, ExitCode::config, "corpus.max_tokens = {} is less than the first context", options.max_tokens);
    tokens.hash = token_hash(tokens);
  });
  const double bytes = 20.0 * static_cast<double>(tokens.count());
  io::Output output(comm, options.out, key, io::Output::Writers::root, options.force, bytes,
                    [&](io::File& file) { write_layout(file, tokens); });
  output.finish();
  return {tokens.count(), tokens.contexts(), tokens.hash};
}

} // namespace

void tokenize(const comm::Communicator& comm, const TokenizeOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  const bool text = options.token_ids.empty();
  std::vector<TextFile> files;
  if (text) files = agreed_text_files(comm, options.paths);
  const StageKey key = text ? key_of_text(comm, options, files) : comm::agreed(comm, [&] { return key_of_ids(options); });
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

} // namespace concord::corpus
