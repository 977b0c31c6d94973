#include "corpus/text/text_tokens.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/at.hpp"
#include "concord/core/digest.hpp"
#include "concord/core/log.hpp"
#include "concord/core/progress.hpp"
#include "concord/core/text.hpp"
#include "concord/corpus/text/documents.hpp"
#include "concord/io/output.hpp"

#include "corpus/text/common_contexts.hpp"
#include "corpus/text/token_pieces.hpp"
#include "corpus/tokenizers/tokenizer.hpp"
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
/// Where models have tokenizers of their own; of an element a byte.
constexpr const char* kinds_name = "/row_kind";
/// Where they lie in the file.
using Offsets = std::array<Index, dataset_names.size() + 1>;

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

/// The tokens of the text by one tokenizer.
struct SideTokens {
  std::unique_ptr<Tokenizer> tokenizer;
  std::vector<PieceSize> sizes;  ///< of the pieces in the order of the corpus; behind keep(): what is kept of them
  std::vector<PieceSize> before; ///< what lies before each
  TokenCounts counts;
};

class TextTokens {
public:
  TextTokens(const comm::Communicator& comm, const TokenizeOptions& options, const std::vector<TextSide>& sides, fs::path folder,
             std::vector<TextFile> files)
      : comm_(comm), options_(options), sides_(sides), folder_(std::move(folder)), tokens_(sides.size()),
        reader_(comm::agreed(comm, [&] { return std::make_shared<DocumentReader>(std::move(files), options.documents); })),
        pieces_((reader_->length() + options.piece_bytes - 1) / options.piece_bytes) {}

  TokenCounts run() {
    load_tokenizers();
    prepare_folder();
    tokenize_pieces();
    keep();
    for (std::size_t s = 0; s < tokens_.size(); ++s) tokens_[s].counts.hash = hash(s);
    for (std::size_t s = 0; s < tokens_.size(); ++s)
      if (!sides_[s].is_done) write(s);
    comm::agree(comm_, [&] {
      if (comm_.rank() == 0) fs::remove_all(folder_);
    });
    return tokens_.front().counts;
  }

private:
  bool in_common() const { return sides_.size() > 1; }

  fs::path piece_path(std::size_t side, Index piece) const {
    return folder_ / (in_common() ? fmt::format("{}.{}", piece, side) : std::to_string(piece));
  }

  void load_tokenizers() {
    comm::agree(comm_, [&] {
      settings::check_all<CorpusSettings>(options_, "corpus", "this run");
      for (std::size_t s = 0; s < sides_.size(); ++s) tokens_[s].tokenizer = open_tokenizer(sides_[s].files.tokenizer, options_.bos);
    });
  }

  /// The pieces of another run are good for this one when key and size of a piece are the same.
  void prepare_folder() {
    comm::agree(comm_, [&] {
      if (comm_.rank() != 0) return;
      make_folder(folder_.parent_path());
      const std::string mark = fmt::format("{} {}", sides_.front().key.digest(), options_.piece_bytes);
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

  /// One a side.
  std::vector<TokenPiece> tokenize_piece(Index piece) {
    std::vector<TokenPiece> out(sides_.size());
    const Index begin = piece * options_.piece_bytes;
    std::string text;
    for (const auto& part : reader_->parts(begin, std::min(begin + options_.piece_bytes, reader_->length()))) {
      Index text_begin = 0;
      std::vector<std::string_view> documents;
      for (const auto& document : reader_->read(part, text, text_begin))
        documents.push_back(std::string_view(text).substr(static_cast<std::size_t>(document.begin - text_begin),
                                                          static_cast<std::size_t>(document.end - document.begin)));
      if (in_common()) {
        for (const auto document : documents) add_in_common(document, out);
        continue;
      }
      const auto& tokenizer = tokens_.front().tokenizer;
      tokenizer->encode(documents, [&](const std::vector<TextToken>& tokens) {
        add_document(tokens, tokenizer->bos_id(), options_.context, out.front());
        ++out.front().documents;
      });
    }
    return out;
  }

  void add_in_common(std::string_view document, std::vector<TokenPiece>& out) {
    std::vector<std::vector<TextToken>> tokens(tokens_.size());
    std::vector<TokensOfDocument> of_sides;
    for (std::size_t s = 0; s < tokens_.size(); ++s) {
      tokens_[s].tokenizer->encode({document}, [&](const std::vector<TextToken>& made) { tokens[s] = made; });
      of_sides.push_back({tokens[s], tokens_[s].tokenizer->bos_id()});
    }
    left_out_ += add_common_document(of_sides, options_.context, out);
  }

  /// The sizes of a piece by each side; makes it unless an earlier run did.
  std::vector<PieceSize> sizes_of_piece(Index piece) {
    std::vector<PieceSize> sizes;
    for (std::size_t s = 0; s < sides_.size(); ++s)
      if (const auto finished = finished_piece(piece_path(s, piece), in_common())) sizes.push_back(*finished);
    if (sizes.size() == sides_.size()) return sizes;
    sizes.clear();
    const auto made = tokenize_piece(piece);
    for (std::size_t s = 0; s < sides_.size(); ++s) {
      write_piece(piece_path(s, piece), made[s]);
      sizes.push_back(made[s].size());
    }
    return sizes;
  }

  /// Rounds of one piece a rank, until the corpus or max_tokens is at its end.
  void tokenize_pieces() {
    Progress progress("tokenize", reader_->length(), "bytes");
    Index tokens = 0; // of the side that has most
    std::vector<Index> of_sides(sides_.size());
    for (Index round = 0; round * comm_.size() < pieces_ && (options_.max_tokens <= 0 || tokens < options_.max_tokens); ++round) {
      stop_when_asked(comm_);
      const Index piece = round * comm_.size() + comm_.rank();
      std::vector<PieceSize> sizes(sides_.size());
      comm::agree(comm_, [&] {
        if (piece < pieces_) sizes = sizes_of_piece(piece);
      });
      const auto all = comm::all_gather(comm_, sizes);
      for (std::size_t i = 0; i < all.size(); ++i) {
        const std::size_t side = i % sides_.size();
        tokens_[side].sizes.push_back(all[i]);
        of_sides[side] += all[i].tokens;
        tokens = std::max(tokens, of_sides[side]);
      }
      progress.update(std::min((round + 1) * comm_.size() * options_.piece_bytes, reader_->length()));
    }
    const Index left_out = comm::sum_of(comm_, left_out_);
    if (left_out > 0)
      log_warn("tokenize: {} are left out, since the tokenizers share no place to cut them into contexts of {} tokens",
               human_bytes(static_cast<double>(left_out)), options_.context);
    for (auto& side : tokens_) // the last round may have fewer pieces than ranks
      side.sizes.resize(std::min(side.sizes.size(), static_cast<std::size_t>(pieces_)));
  }

  /// What comes before each piece, and what of it is kept: contexts up to the one that would pass max_tokens on any side.
  void keep() {
    comm::agree(comm_, [&] {
      Index documents = 0;
      std::vector<PieceSize> sums(sides_.size());
      for (std::size_t p = 0; p < tokens_.front().sizes.size(); ++p) {
        documents += tokens_.front().sizes[p].documents;
        const Index contexts = contexts_kept(p, sums);
        const bool whole = contexts == tokens_.front().sizes[p].contexts;
        for (std::size_t s = 0; s < sides_.size(); ++s) {
          auto& side = tokens_[s];
          side.before.push_back(sums[s]);
          if (!whole) {
            side.sizes[p].tokens =
                contexts > 0 ? read_piece(piece_path(s, static_cast<Index>(p)), in_common()).context_ends[at(contexts - 1)] : 0;
            side.sizes[p].contexts = contexts;
            side.sizes.resize(p + 1);
          }
          sums[s].documents += side.sizes[p].documents;
          sums[s].contexts += side.sizes[p].contexts;
          sums[s].tokens += side.sizes[p].tokens;
        }
      }
      require(documents > 0, ExitCode::bad_data, "the corpus holds no text");
      require(sums.front().contexts > 0 || options_.max_tokens == 0, ExitCode::config,
              "corpus.max_tokens = {} is less than the first context", options_.max_tokens);
      require(sums.front().contexts > 0, ExitCode::bad_data, "the tokenizers of the models share no token of the text");
      for (std::size_t s = 0; s < sides_.size(); ++s) {
        tokens_[s].counts.tokens = sums[s].tokens;
        tokens_[s].counts.contexts = sums[s].contexts;
      }
    });
  }

  /// Contexts of a piece that stay below max_tokens on every side.
  Index contexts_kept(std::size_t p, const std::vector<PieceSize>& before) const {
    Index kept = tokens_.front().sizes[p].contexts;
    for (std::size_t s = 0; s < sides_.size() && options_.max_tokens > 0; ++s) {
      if (before[s].tokens + tokens_[s].sizes[p].tokens <= options_.max_tokens) continue;
      const auto ends = read_piece(piece_path(s, static_cast<Index>(p)), in_common()).context_ends;
      kept = std::min(
          kept, static_cast<Index>(std::upper_bound(ends.begin(), ends.end(), options_.max_tokens - before[s].tokens) - ends.begin()));
    }
    return kept;
  }

  /// As token_hash(): of all ids, then of all context offsets. It depends on their order, so one rank reads them.
  std::string hash(std::size_t side) {
    const auto& sizes = tokens_[side].sizes;
    Digest digest;
    for (std::size_t p = 0; p < sizes.size(); ++p) {
      stop_when_asked(comm_);
      comm::agree(comm_, [&] {
        if (comm_.rank() != 0) return;
        const auto ids = read_piece_ids(piece_path(side, static_cast<Index>(p)));
        digest.add(std::span<const std::int32_t>(ids).first(static_cast<std::size_t>(sizes[p].tokens)));
      });
    }
    const Index zero = 0;
    digest.add(&zero, sizeof zero);
    for (std::size_t p = 0; p < sizes.size(); ++p) {
      stop_when_asked(comm_);
      comm::agree(comm_, [&] {
        if (comm_.rank() != 0) return;
        const auto ends = placed_ends(read_piece(piece_path(side, static_cast<Index>(p)), in_common()), side, p);
        digest.add(std::span<const Index>(ends));
      });
    }
    std::string hex = digest.hex();
    comm::broadcast_bytes(comm_, hex.data(), static_cast<Index>(hex.size()));
    return hex;
  }

  std::vector<Index> placed_ends(const TokenPiece& piece, std::size_t side, std::size_t p) const {
    const auto& of_side = tokens_[side];
    std::vector<Index> ends(piece.context_ends.begin(), piece.context_ends.begin() + of_side.sizes[p].contexts);
    for (auto& end : ends) end += of_side.before[p].tokens;
    return ends;
  }

  /// What the tokens of all sides are known by.
  std::string row_hash() const {
    std::string all;
    for (const auto& side : tokens_) all += side.counts.hash;
    return digest_of(std::string_view(all));
  }

  void lay_out(io::File& file, const SideTokens& side) const {
    const auto& counts = side.counts;
    file.create_dataset("/tokens", {counts.tokens}, Dtype::i32);
    file.create_dataset("/context_offsets", {counts.contexts + 1}, Dtype::i64);
    file.create_dataset("/context_document", {counts.contexts}, Dtype::i64);
    file.create_dataset("/byte_begin", {counts.tokens}, Dtype::i64);
    file.create_dataset("/byte_end", {counts.tokens}, Dtype::i64);
    if (in_common()) file.create_dataset(kinds_name, {counts.tokens}, Dtype::u8);
    file.write_strings("/pieces", side.tokenizer->pieces());
    file.write_attribute("token_hash", counts.hash);
    if (in_common()) file.write_attribute("row_hash", row_hash());
    file.write_attribute("bos_id", std::to_string(side.tokenizer->bos_id()));
  }

  void write(std::size_t s) {
    const auto& side = tokens_[s];
    const double bytes = 21.0 * static_cast<double>(side.counts.tokens) + 16.0 * static_cast<double>(side.counts.contexts);
    io::Output output(comm_, sides_[s].files.out, sides_[s].key, io::Output::Writers::by_offset, options_.force, bytes,
                      [&](io::File& file) { lay_out(file, side); });
    Offsets offsets{};
    comm::agree(comm_, [&] {
      if (comm_.rank() != 0) return;
      const auto file = io::File::open(output.partial());
      for (std::size_t d = 0; d < dataset_names.size(); ++d) offsets[d] = static_cast<Index>(file.dataset(dataset_names[d]).file_offset());
      if (in_common()) offsets.back() = static_cast<Index>(file.dataset(kinds_name).file_offset());
    });
    comm::broadcast_bytes(comm_, offsets.data(), sizeof offsets);
    std::optional<PlacedFile> file;
    comm::agree(comm_, [&] { file.emplace(output.partial()); });
    const auto pieces = static_cast<Index>(side.sizes.size());
    for (Index round = 0; round * comm_.size() < pieces; ++round) {
      stop_when_asked(comm_);
      comm::agree(comm_, [&] {
        const Index piece = round * comm_.size() + comm_.rank();
        if (piece < pieces) place(*file, s, static_cast<std::size_t>(piece), offsets);
      });
    }
    comm::agree(comm_, [&] { file->sync(); });
    file.reset();
    output.finish();
  }

  void place(PlacedFile& file, std::size_t side, std::size_t p, const Offsets& offsets) const {
    TokenPiece piece = read_piece(piece_path(side, static_cast<Index>(p)), in_common());
    const auto& before = tokens_[side].before[p];
    const Index rows = tokens_[side].sizes[p].tokens;
    const Index contexts = tokens_[side].sizes[p].contexts;
    const auto ends = placed_ends(piece, side, p);
    for (auto& document : piece.context_document) document += before.documents;
    const Index zero = 0;
    if (p == 0) file.write(offsets[1], &zero, 1);
    file.write(offsets[0] + 4 * before.tokens, piece.ids.data(), rows);
    file.write(offsets[1] + 8 * (before.contexts + 1), ends.data(), contexts);
    file.write(offsets[2] + 8 * before.contexts, piece.context_document.data(), contexts);
    file.write(offsets[3] + 8 * before.tokens, piece.byte_begin.data(), rows);
    file.write(offsets[4] + 8 * before.tokens, piece.byte_end.data(), rows);
    if (in_common()) file.write(offsets[5] + before.tokens, piece.kinds.data(), rows);
  }

  comm::Communicator comm_;
  const TokenizeOptions& options_;
  const std::vector<TextSide>& sides_;
  fs::path folder_;
  std::vector<SideTokens> tokens_; ///< as sides_
  std::shared_ptr<DocumentReader> reader_;
  Index pieces_;
  Index left_out_ = 0; ///< bytes that no context of this rank holds
};

} // namespace

TokenCounts tokenize_text(const comm::Communicator& comm, const TokenizeOptions& options, const std::vector<TextSide>& sides,
                          const fs::path& folder, std::vector<TextFile> files) {
  return TextTokens(comm, options, sides, folder, std::move(files)).run();
}

} // namespace concord::corpus
