#include "concord/corpus/tokenize.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/core/digest.hpp"
#include "concord/core/log.hpp"
#include "concord/core/progress.hpp"
#include "concord/core/text.hpp"
#include "concord/dist/partition.hpp"
#include "concord/io/npy.hpp"
#include "concord/io/output.hpp"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <chrono>
#include <glob.h>

namespace concord::corpus {

namespace fs = std::filesystem;

namespace {

std::vector<fs::path> text_files(const std::vector<std::string>& paths) {
  require(!paths.empty(), ExitCode::config, "no text was given: set corpus.paths (or --text) to files, folders or patterns");
  std::vector<fs::path> files;
  for (const auto& path : paths) {
    if (fs::is_directory(path)) {
      for (const auto& entry : fs::recursive_directory_iterator(path))
        if (entry.is_regular_file() && entry.path().extension() == ".txt") files.push_back(entry.path());
      continue;
    }
    glob_t matches{};
    const int status = ::glob(path.c_str(), 0, nullptr, &matches);
    for (std::size_t i = 0; status == 0 && i < matches.gl_pathc; ++i) files.emplace_back(matches.gl_pathv[i]);
    ::globfree(&matches);
    require(status == 0, ExitCode::input_missing, "no file matches corpus path {}", path);
  }
  std::sort(files.begin(), files.end());
  require(!files.empty(), ExitCode::input_missing, "no .txt file in {}", join(paths, ", "));
  return files;
}

/// Documents of a text: pieces between lines that hold nothing but white space.
std::vector<std::string_view> split_at_blank_lines(std::string_view text) {
  std::vector<std::string_view> documents;
  std::size_t begin = 0;
  std::size_t line = 0;
  const auto close = [&](std::size_t end) {
    const auto document = text.substr(begin, end - begin);
    if (document.find_first_not_of(" \t\r\n") != std::string_view::npos) documents.push_back(document);
  };
  while (line < text.size()) {
    const std::size_t end = std::min(text.find('\n', line), text.size());
    if (text.substr(line, end - line).find_first_not_of(" \t\r") == std::string_view::npos) {
      close(line);
      begin = std::min(end + 1, text.size());
    }
    line = end + 1;
  }
  close(text.size());
  return documents;
}

bool is_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto c = static_cast<unsigned char>(text[i]);
    const int extra = c < 0x80 ? 0 : c >= 0xC2 && c < 0xE0 ? 1 : c >= 0xE0 && c < 0xF0 ? 2 : c >= 0xF0 && c < 0xF5 ? 3 : -1;
    if (extra < 0 || i + static_cast<std::size_t>(extra) >= text.size()) return false;
    for (int k = 1; k <= extra; ++k)
      if ((static_cast<unsigned char>(text[i + static_cast<std::size_t>(k)]) & 0xC0U) != 0x80U) return false;
    i += static_cast<std::size_t>(extra) + 1;
  }
  return true;
}

/// A rank's tokens; context_offsets count from 0 and documents from the first of this rank.
Tokens tokenize_documents(const std::vector<std::string_view>& documents, Index first_document,
                          const sentencepiece::SentencePieceProcessor& processor, const TokenizeOptions& options) {
  Tokens out;
  out.context_offsets.push_back(0);
  const Index text_tokens = options.context - 1;
  for (std::size_t d = 0; d < documents.size(); ++d) {
    const auto encoded = processor.EncodeAsImmutableProto(documents[d]);
    const auto n = static_cast<Index>(encoded.pieces_size());
    for (Index begin = 0; begin < n; begin += text_tokens) {
      const Index end = std::min(n, begin + text_tokens);
      const auto at = static_cast<Index>(encoded.pieces(static_cast<int>(begin)).begin());
      out.ids.push_back(processor.bos_id());
      out.byte_begin.push_back(at);
      out.byte_end.push_back(at);
      for (Index i = begin; i < end; ++i) {
        const auto piece = encoded.pieces(static_cast<int>(i));
        out.ids.push_back(static_cast<std::int32_t>(piece.id()));
        out.byte_begin.push_back(static_cast<Index>(piece.begin()));
        out.byte_end.push_back(static_cast<Index>(piece.end()));
      }
      out.context_offsets.push_back(out.count());
      out.context_document.push_back(first_document + static_cast<Index>(d));
    }
  }
  return out;
}

/// Drops contexts behind the one that would pass max_tokens, counted over all ranks.
void cut_to_max_tokens(const comm::Communicator& comm, Tokens& local, Index max_tokens) {
  if (max_tokens <= 0) return;
  const Index before = comm::sum_below(comm, local.count());
  Index keep = 0;
  while (keep < local.contexts() && before + local.context_offsets[static_cast<std::size_t>(keep) + 1] <= max_tokens) ++keep;
  const auto rows = static_cast<std::size_t>(local.context_offsets[static_cast<std::size_t>(keep)]);
  local.context_offsets.resize(static_cast<std::size_t>(keep) + 1);
  local.context_document.resize(static_cast<std::size_t>(keep));
  local.ids.resize(rows);
  local.byte_begin.resize(rows);
  local.byte_end.resize(rows);
}

/// All ranks' contexts in rank order, on every rank.
Tokens gather(const comm::Communicator& comm, const Tokens& local) {
  Tokens all;
  all.ids = comm::all_gather(comm, local.ids);
  all.byte_begin = comm::all_gather(comm, local.byte_begin);
  all.byte_end = comm::all_gather(comm, local.byte_end);
  all.context_document = comm::all_gather(comm, local.context_document);
  const Index before = comm::sum_below(comm, local.count());
  std::vector<Index> ends;
  for (Index c = 1; c <= local.contexts(); ++c) ends.push_back(before + local.context_offsets[static_cast<std::size_t>(c)]);
  all.context_offsets = {0};
  const auto all_ends = comm::all_gather(comm, ends);
  all.context_offsets.insert(all.context_offsets.end(), all_ends.begin(), all_ends.end());
  return all;
}

struct Corpus {
  std::vector<std::string> texts;
  std::vector<std::string_view> documents;
};

Corpus read_corpus(const TokenizeOptions& options) {
  Corpus corpus;
  for (const auto& path : text_files(options.paths)) {
    corpus.texts.push_back(read_text(path, "text"));
    require(is_utf8(corpus.texts.back()), ExitCode::bad_data, "{} is not valid UTF-8; convert it with iconv", path.string());
  }
  for (const auto& text : corpus.texts) {
    if (options.documents == "file")
      corpus.documents.emplace_back(text);
    else {
      const auto documents = split_at_blank_lines(text);
      corpus.documents.insert(corpus.documents.end(), documents.begin(), documents.end());
    }
  }
  require(!corpus.documents.empty(), ExitCode::bad_data, "the corpus holds no text");
  return corpus;
}

Tokens from_text(const comm::Communicator& comm, const TokenizeOptions& options) {
  sentencepiece::SentencePieceProcessor processor;
  Corpus corpus;
  comm::agree(comm, [&] {
    require(options.context >= 2, ExitCode::config, "corpus.context must be at least 2 (BOS and one token), not {}", options.context);
    require(options.documents == "blank-line" || options.documents == "file", ExitCode::config,
            "corpus.documents must be \"blank-line\" or \"file\", not \"{}\"", options.documents);
    require(fs::exists(options.tokenizer), ExitCode::input_missing, "there is no tokenizer {}", options.tokenizer.string());
    const auto status = processor.Load(options.tokenizer.string());
    require(status.ok(), ExitCode::bad_data, "{} is no SentencePiece model: {}", options.tokenizer.string(), status.ToString());
    require(processor.bos_id() >= 0, ExitCode::bad_data, "{} has no BOS piece", options.tokenizer.string());
    corpus = read_corpus(options);
  });
  const dist::Partition share{static_cast<Index>(corpus.documents.size()), comm.size()};
  const std::vector<std::string_view> mine(corpus.documents.begin() + share.begin(comm.rank()),
                                           corpus.documents.begin() + share.end(comm.rank()));
  Tokens local = tokenize_documents(mine, share.begin(comm.rank()), processor, options);
  cut_to_max_tokens(comm, local, options.max_tokens);
  Tokens all = gather(comm, local);
  all.bos_id = processor.bos_id();
  for (int id = 0; id < processor.GetPieceSize(); ++id) all.pieces.push_back(processor.IdToPiece(id));
  return all;
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

StageKey key_of(const TokenizeOptions& options) {
  StageKey key{"tokenize", {}, {}};
  key.settings = {{"context", options.context}, {"max_tokens", options.max_tokens}, {"documents", options.documents}};
  if (!options.token_ids.empty()) {
    key.settings["bos_id"] = options.bos_id;
    key.inputs["token_ids"] = digest_of_file(options.token_ids);
    return key;
  }
  key.inputs["tokenizer"] = digest_of_file(options.tokenizer);
  Digest digest;
  for (const auto& path : text_files(options.paths)) digest.add(digest_of_file(path));
  key.inputs["text"] = digest.hex();
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

} // namespace

void tokenize(const comm::Communicator& comm, const TokenizeOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  StageKey key = comm::agreed(comm, [&] { return key_of(options); });
  if (io::output_is_done(comm, options.out, key, options.force)) {
    log_info("tokenize: {} is done", options.out.string());
    return;
  }
  Tokens tokens;
  if (options.token_ids.empty())
    tokens = from_text(comm, options);
  else
    comm::agree(comm, [&] { tokens = from_ids(options); });
  comm::agree(comm, [&] {
    require(tokens.contexts() > 0, ExitCode::config, "corpus.max_tokens = {} is less than the first context", options.max_tokens);
    tokens.hash = token_hash(tokens);
  });
  const double bytes = 20.0 * static_cast<double>(tokens.count());
  io::Output output(comm, options.out, key, io::Output::Writers::root, options.force, bytes,
                    [&](io::File& file) { write_layout(file, tokens); });
  output.finish();
  const double wall = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  say_stage_ok("tokenize", wall, fmt::format("tokens={} contexts={} hash={}", tokens.count(), tokens.contexts(), tokens.hash),
               options.out.string());
}

} // namespace concord::corpus
