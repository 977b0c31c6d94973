#include "corpus/text/text_tokens.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/decided.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/digest.hpp"
#include "concord/core/log.hpp"
#include "concord/core/progress.hpp"
#include "concord/core/text.hpp"
#include "concord/corpus/text/documents.hpp"
#include "concord/io/output.hpp"

#include "corpus/text/token_pieces.hpp"
#include "corpus/text/tokenizer.hpp"
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <unistd.h>

namespace concord::corpus {

namespace fs = std::filesystem;

namespace {

void stop_when_asked(const comm::Communicator& comm) {
  if (comm::stop_requested(comm)) comm::throw_stopped("tokenize");
}

/// The datasets of tokens.h5 that ranks write into, and the bytes of an element.
constexpr std::array<const char*, 5> dataset_names{"/tokens", "/context_offsets", "/context_document", "/byte_begin", "/byte_end"};

/// The file under way, written by all ranks at known places.
class PlacedFile {
public:
  explicit PlacedFile(const fs::path& path) : path_(path), descriptor_(::open(path.c_str(), O_WRONLY | O_CLOEXEC)) {
    require(descriptor_ >= 0, ExitCode::io, "cannot open {}: {}", path.string(), std::strerror(errno));
  }
  ~PlacedFile() { ::close(descriptor_); }
  PlacedFile(const PlacedFile&) = delete;
  PlacedFile& operator=(const PlacedFile&) = delete;
  template <typename T>
  void write(Index offset, const T* values, Index count) {
    const char* from = reinterpret_cast<const char*>(values);
    for (auto left = static_cast<std::size_t>(count) * sizeof(T); left > 0;) {
      const auto put = ::pwrite(descriptor_, from, left, offset);
      if (put < 0 && errno == EINTR) continue;
      require(put > 0, ExitCode::io, "cannot write {}: {}", path_.string(), std::strerror(errno));
      from += put;
      offset += put;
      left -= static_cast<std::size_t>(put);
    }
  }
  void sync() { require(::fsync(descriptor_) == 0, ExitCode::io, "cannot flush {}: {}", path_.string(), std::strerror(errno)); }

private:
  fs::path path_;
  int descriptor_;
};

class TextTokens {
public:
  TextTokens(const comm::Communicator& comm, const TokenizeOptions& options, const StageKey& key, std::vector<TextFile> files)
      : comm_(comm), options_(options), key_(key), folder_(options.out.string() + ".pieces"),
        reader_(comm::agreed(comm, [&] { return std::make_shared<DocumentReader>(std::move(files), options.documents); })),
        pieces_((reader_->length() + options.piece_bytes - 1) / options.piece_bytes) {}

  TokenCounts run() {
    load_tokenizer();
    prepare_folder();
    tokenize_pieces();
    TokenCounts counts = count();
    write(counts);
    comm::agree(comm_, [&] {
      if (comm_.rank() == 0) fs::remove_all(folder_);
    });
    return counts;
  }

private:
  fs::path piece_path(Index piece) const { return folder_ / std::to_string(piece); }

  void load_tokenizer() {
    comm::agree(comm_, [&] {
      settings::check_all<CorpusSettings>(options_, "corpus", "this run");
      tokenizer_.load(options_.tokenizer);
    });
  }

  /// The pieces of another run are good for this one when key and size of a piece are the same.
  void prepare_folder() {
    comm::agree(comm_, [&] {
      if (comm_.rank() != 0) return;
      make_folder(options_.out.parent_path());
      const std::string mark = fmt::format("{} {}", key_.digest(), options_.piece_bytes);
      const fs::path owner = folder_ / "key";
      const bool same = fs::exists(owner) && read_text(owner, "key") == mark;
      require(same || options_.force || !fs::exists(owner), ExitCode::config,
              "{} holds the tokens of an unfinished run with other settings or inputs; give --force to replace them", folder_.string());
      if (same) return;
      fs::remove_all(folder_);
      make_folder(folder_);
      write_text_atomic(owner, mark);
    });
  }

  TokenPiece tokenize_piece(Index piece) const {
    TokenPiece out;
    const Index begin = piece * options_.piece_bytes;
    std::string text;
    for (const auto& part : reader_->parts(begin, std::min(begin + options_.piece_bytes, reader_->length()))) {
      Index text_begin = 0;
      for (const auto& document : reader_->read(part, text, text_begin)) {
        tokenizer_.add_document(std::string_view(text).substr(static_cast<std::size_t>(document.begin - text_begin),
                                                              static_cast<std::size_t>(document.end - document.begin)),
                                options_.context, out);
        ++out.documents;
      }
    }
    return out;
  }

  /// Rounds of one piece a rank, until the corpus or max_tokens is at its end.
  void tokenize_pieces() {
    Progress progress("tokenize", reader_->length(), "bytes");
    Index tokens = 0;
    for (Index round = 0; round * comm_.size() < pieces_ && (options_.max_tokens <= 0 || tokens < options_.max_tokens); ++round) {
      stop_when_asked(comm_);
      const Index piece = round * comm_.size() + comm_.rank();
      PieceSize size;
      comm::agree(comm_, [&] {
        if (piece >= pieces_) return;
        if (const auto finished = finished_piece(piece_path(piece))) {
          size = *finished;
          return;
        }
        const TokenPiece made = tokenize_piece(piece);
        write_piece(piece_path(piece), made);
        size = made.size();
      });
      for (const auto& of_rank : comm::all_gather(comm_, std::vector<PieceSize>{size})) {
        sizes_.push_back(of_rank);
        tokens += of_rank.tokens;
      }
      progress.update(std::min((round + 1) * comm_.size() * options_.piece_bytes, reader_->length()));
    }
    sizes_.resize(std::min(sizes_.size(), static_cast<std::size_t>(pieces_))); // the last round may have fewer pieces than ranks
  }

  /// What comes before each piece, and what of it is kept: contexts up to the one that would pass max_tokens.
  TokenCounts count() {
    TokenCounts counts;
    PieceSize sum;
    Index documents = 0;
    comm::agree(comm_, [&] {
      for (std::size_t p = 0; p < sizes_.size(); ++p) {
        before_.push_back(sum);
        documents += sizes_[p].documents;
        PieceSize kept = sizes_[p];
        if (options_.max_tokens > 0 && sum.tokens + kept.tokens > options_.max_tokens) {
          const auto ends = read_piece(piece_path(static_cast<Index>(p))).context_ends;
          const auto last = std::upper_bound(ends.begin(), ends.end(), options_.max_tokens - sum.tokens);
          kept.contexts = last - ends.begin();
          kept.tokens = kept.contexts > 0 ? *(last - 1) : 0;
          sizes_[p] = kept;
          sizes_.resize(p + 1);
        }
        sum.documents += kept.documents;
        sum.contexts += kept.contexts;
        sum.tokens += kept.tokens;
      }
      require(documents > 0, ExitCode::bad_data, "the corpus holds no text");
      require(sum.contexts > 0, ExitCode::config, "corpus.max_tokens = {} is less than the first context", options_.max_tokens);
    });
    counts.tokens = sum.tokens;
    counts.contexts = sum.contexts;
    counts.hash = hash();
    return counts;
  }

  /// As token_hash(): of all ids, then of all context offsets. It depends on their order, so one rank reads them.
  std::string hash() {
    Digest digest;
    for (std::size_t p = 0; p < sizes_.size(); ++p) {
      stop_when_asked(comm_);
      comm::agree(comm_, [&] {
        if (comm_.rank() != 0) return;
        const auto ids = read_piece_ids(piece_path(static_cast<Index>(p)));
        digest.add(std::span<const std::int32_t>(ids).first(static_cast<std::size_t>(sizes_[p].tokens)));
      });
    }
    const Index zero = 0;
    digest.add(&zero, sizeof zero);
    for (std::size_t p = 0; p < sizes_.size(); ++p) {
      stop_when_asked(comm_);
      comm::agree(comm_, [&] {
        if (comm_.rank() != 0) return;
        const auto ends = placed_ends(read_piece(piece_path(static_cast<Index>(p))), p);
        digest.add(std::span<const Index>(ends));
      });
    }
    std::string hex = digest.hex();
    comm::broadcast_bytes(comm_, hex.data(), static_cast<Index>(hex.size()));
    return hex;
  }

  std::vector<Index> placed_ends(const TokenPiece& piece, std::size_t p) const {
    std::vector<Index> ends(piece.context_ends.begin(), piece.context_ends.begin() + sizes_[p].contexts);
    for (auto& end : ends) end += before_[p].tokens;
    return ends;
  }

  void lay_out(io::File& file, const TokenCounts& counts) const {
    file.create_dataset("/tokens", {counts.tokens}, Dtype::i32);
    file.create_dataset("/context_offsets", {counts.contexts + 1}, Dtype::i64);
    file.create_dataset("/context_document", {counts.contexts}, Dtype::i64);
    file.create_dataset("/byte_begin", {counts.tokens}, Dtype::i64);
    file.create_dataset("/byte_end", {counts.tokens}, Dtype::i64);
    file.write_strings("/pieces", tokenizer_.pieces());
    file.write_attribute("token_hash", counts.hash);
    file.write_attribute("bos_id", std::to_string(tokenizer_.bos_id()));
  }

  void write(const TokenCounts& counts) {
    const double bytes = 20.0 * static_cast<double>(counts.tokens) + 16.0 * static_cast<double>(counts.contexts);
    io::Output output(comm_, options_.out, key_, io::Output::Writers::by_offset, options_.force, bytes,
                      [&](io::File& file) { lay_out(file, counts); });
    std::array<Index, dataset_names.size()> offsets{};
    comm::agree(comm_, [&] {
      if (comm_.rank() != 0) return;
      const auto file = io::File::open(output.partial());
      for (std::size_t d = 0; d < offsets.size(); ++d) offsets[d] = static_cast<Index>(file.dataset(dataset_names[d]).file_offset());
    });
    comm::broadcast_bytes(comm_, offsets.data(), sizeof offsets);
    std::optional<PlacedFile> file;
    comm::agree(comm_, [&] { file.emplace(output.partial()); });
    const auto pieces = static_cast<Index>(sizes_.size());
    for (Index round = 0; round * comm_.size() < pieces; ++round) {
      stop_when_asked(comm_);
      comm::agree(comm_, [&] {
        const Index piece = round * comm_.size() + comm_.rank();
        if (piece < pieces) place(*file, static_cast<std::size_t>(piece), offsets);
      });
    }
    comm::agree(comm_, [&] { file->sync(); });
    file.reset();
    output.finish();
  }

  void place(PlacedFile& file, std::size_t p, const std::array<Index, dataset_names.size()>& offsets) const {
    TokenPiece piece = read_piece(piece_path(static_cast<Index>(p)));
    const Index rows = sizes_[p].tokens;
    const Index contexts = sizes_[p].contexts;
    const auto ends = placed_ends(piece, p);
    for (auto& document : piece.context_document) document += before_[p].documents;
    const Index zero = 0;
    if (p == 0) file.write(offsets[1], &zero, 1);
    file.write(offsets[0] + 4 * before_[p].tokens, piece.ids.data(), rows);
    file.write(offsets[1] + 8 * (before_[p].contexts + 1), ends.data(), contexts);
    file.write(offsets[2] + 8 * before_[p].contexts, piece.context_document.data(), contexts);
    file.write(offsets[3] + 8 * before_[p].tokens, piece.byte_begin.data(), rows);
    file.write(offsets[4] + 8 * before_[p].tokens, piece.byte_end.data(), rows);
  }

  comm::Communicator comm_;
  const TokenizeOptions& options_;
  const StageKey& key_;
  fs::path folder_;
  std::shared_ptr<DocumentReader> reader_;
  Index pieces_;
  Tokenizer tokenizer_;
  std::vector<PieceSize> sizes_;  ///< of the pieces in the order of the corpus; behind count(): what is kept of them
  std::vector<PieceSize> before_; ///< what lies before each
};

/// Digests of a rank's files, some bytes at a time.
class FileDigests {
public:
  FileDigests(const std::vector<TextFile>& files, std::size_t begin, std::size_t end) : files_(files), at_(begin), end_(end) {}
  bool done() const { return at_ == end_; }
  const std::string& digests() const { return digests_; }
  /// Goes on for about 256 MiB.
  void advance() {
    std::vector<char> block(1 << 22);
    for (int i = 0; i < 64 && !done(); ++i) {
      const auto& path = files_[at_].path;
      if (!digest_) {
        in_ = std::ifstream(path, std::ios::binary);
        require(in_.good(), ExitCode::input_missing, "cannot open the text {}: {}", path.string(), std::strerror(errno));
        digest_ = std::make_unique<Digest>();
      }
      in_.read(block.data(), static_cast<std::streamsize>(block.size()));
      require(!in_.bad(), ExitCode::io, "cannot read {}", path.string());
      digest_->add(block.data(), static_cast<std::size_t>(in_.gcount()));
      if (!in_.eof()) continue;
      digests_ += digest_->hex();
      digest_.reset();
      ++at_;
    }
  }

private:
  const std::vector<TextFile>& files_;
  std::size_t at_;
  std::size_t end_;
  std::ifstream in_;
  std::unique_ptr<Digest> digest_;
  std::string digests_;
};

} // namespace

std::string text_digest(const comm::Communicator& comm, const std::vector<TextFile>& files) {
  // A rank's files are those that begin in its share of all bytes.
  Index bytes = 0;
  std::vector<std::size_t> first(static_cast<std::size_t>(comm.size()) + 1, files.size());
  Index total = 0;
  for (const auto& file : files) total += file.size + 1;
  for (std::size_t f = files.size(); f-- > 0;) {
    bytes += files[f].size + 1;
    const auto owner = static_cast<std::size_t>((total - bytes) / (total / comm.size() + 1));
    for (std::size_t r = 0; r <= owner; ++r) first[r] = f;
  }
  const auto rank = static_cast<std::size_t>(comm.rank());
  FileDigests mine(files, first[rank], first[rank + 1]);
  while (comm::max_of(comm, Index{mine.done() ? 0 : 1}) > 0) {
    stop_when_asked(comm);
    comm::agree(comm, [&] { mine.advance(); });
  }
  const auto all = comm::all_gather_bytes(comm, mine.digests().data(), static_cast<Index>(mine.digests().size()));
  return digest_of(std::string_view(all.data(), all.size()));
}

std::string digest_of_ids(const comm::Communicator& comm, const fs::path& path) {
  const std::vector<TextFile> files{{path, 0}};
  FileDigests of_root(files, 0, comm.rank() == 0 ? 1 : 0);
  const comm::StopWithin stop;
  while (comm::max_of(comm, Index{of_root.done() ? 0 : 1}) > 0) {
    stop.throw_if_wanted(comm, "tokenize");
    comm::agree(comm, [&] { of_root.advance(); });
  }
  return comm::decided(comm, [&] { return of_root.digests(); });
}

TokenCounts tokenize_text(const comm::Communicator& comm, const TokenizeOptions& options, const StageKey& key,
                          std::vector<TextFile> files) {
  return TextTokens(comm, options, key, std::move(files)).run();
}

} // namespace concord::corpus
