#include "corpus/id_tokens.hpp"

#include "concord/comm/decided.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/digest.hpp"
#include "concord/core/log.hpp"
#include "concord/corpus/token_reader.hpp"
#include "concord/io/output.hpp"

#include "corpus/id_array.hpp"
#include <algorithm>
#include <functional>
#include <memory>

namespace concord::corpus {

namespace {

/// Contexts of ids in a file. Local.
class IdSource {
public:
  IdSource() = default;
  IdSource(const IdSource&) = delete;
  IdSource& operator=(const IdSource&) = delete;
  virtual ~IdSource() = default;
  virtual Index contexts() const = 0;
  /// Rows in front of a context; of contexts() all rows.
  virtual Index offset(Index context) const = 0;
  /// Rows [begin, begin + count), at least 0 each. @throws Error bad_data.
  virtual std::vector<std::int32_t> ids(Index begin, Index count) const = 0;
  virtual std::int32_t bos_id() const = 0;
  /// What the hash of all must be; "" where that is not known.
  virtual std::string hash() const { return ""; }
  /// The file, where more than ids is known of the tokens.
  virtual const io::File* file() const { return nullptr; }
};

/// An integer array [contexts, length] of a .npy, .npz or safetensors file.
class ArrayIds final : public IdSource {
public:
  ArrayIds(const std::filesystem::path& path, std::int32_t bos_id) : path_(path), array_(open_id_array(path)), bos_id_(bos_id) {
    require(array_.rows > 0 && array_.cols > 1, ExitCode::bad_data, "{} must be an integer array [contexts, length]", path.string());
  }
  Index contexts() const override { return array_.rows; }
  Index offset(Index context) const override { return context * array_.cols; }
  std::int32_t bos_id() const override { return bos_id_; }

  std::vector<std::int32_t> ids(Index begin, Index count) const override {
    const Index length = array_.cols;
    const Index first = begin / length;
    const Index end = (begin + count + length - 1) / length;
    const auto rows = array_.read(first, end - first);
    std::vector<std::int32_t> ids;
    ids.reserve(static_cast<std::size_t>(count));
    for (Index row = begin; row < begin + count; ++row) {
      const Index id = rows[static_cast<std::size_t>(row - first * length)];
      require(id >= 0 && id < (Index{1} << 31), ExitCode::bad_data, "{}: context {} holds the token id {}", path_.string(), row / length,
              id);
      ids.push_back(static_cast<std::int32_t>(id));
    }
    return ids;
  }

private:
  std::filesystem::path path_;
  IdArray array_;
  std::int32_t bos_id_;
};

class TokensFile final : public IdSource {
public:
  explicit TokensFile(const std::filesystem::path& path) : path_(path), reader_(path), file_(open_tokens(path)) {
    for (const auto& [name, count] :
         {std::pair{"/context_document", contexts()}, {"/byte_begin", reader_.count()}, {"/byte_end", reader_.count()}})
      if (file_.has(name)) file_.dataset(name, {count});
    require(!file_.has("/row_kind"), ExitCode::bad_data,
            "{} goes with the tokens of other models, so it is not copied; name the text instead", path.string());
    require(file_.has("/byte_begin") == file_.has("/byte_end"), ExitCode::bad_data, "{} has one of byte_begin and byte_end", path.string());
  }
  Index contexts() const override { return reader_.contexts(); }
  Index offset(Index context) const override { return reader_.context_offsets()[static_cast<std::size_t>(context)]; }
  std::int32_t bos_id() const override { return reader_.bos_id(); }
  std::string hash() const override { return reader_.hash(); }
  const io::File* file() const override { return &file_; }

  std::vector<std::int32_t> ids(Index begin, Index count) const override {
    auto ids = reader_.ids(begin, count);
    for (const auto id : ids) require(id >= 0, ExitCode::bad_data, "{} holds the token id {}", path_.string(), id);
    return ids;
  }

private:
  std::filesystem::path path_;
  TokenReader reader_;
  io::File file_;
};

class IdCopy {
public:
  IdCopy(const comm::Communicator& comm, const TokenizeOptions& options, const StageKey& key) : comm_(comm), options_(options), key_(key) {}

  TokenCounts run() {
    comm::agree(comm_, [&] {
      if (comm_.rank() == 0) open();
    });
    for (Index* number : {&all_, &contexts_, &rows_}) comm::spread(comm_, *number);
    check_all();
    TokenCounts counts{rows_, contexts_, contexts_ == all_ ? hash_of_all_ : hash_of(contexts_)};
    write(counts);
    return counts;
  }

private:
  bool reads() const { return comm_.rank() == 0; }

  void open() {
    if (options_.token_ids.extension() == ".h5")
      source_ = std::make_unique<TokensFile>(options_.token_ids);
    else
      source_ = std::make_unique<ArrayIds>(options_.token_ids, options_.bos_id);
    all_ = contexts_ = source_->contexts();
    if (options_.max_tokens > 0) { // contexts behind the last that fits are dropped
      contexts_ = 0;
      for (Index beyond = all_ + 1; beyond - contexts_ > 1;) { // offset(contexts_) fits, offset(beyond) does not
        const Index middle = contexts_ + (beyond - contexts_) / 2;
        (source_->offset(middle) <= options_.max_tokens ? contexts_ : beyond) = middle;
      }
    }
    require(contexts_ > 0, ExitCode::config, "corpus.max_tokens = {} is less than the first context", options_.max_tokens);
    rows_ = source_->offset(contexts_);
  }

  /// Rank 0 does `work` for the parts of `count` elements in turn. @throws Error stopped.
  void in_pieces(Index count, const std::function<void(Index begin, Index count)>& work) const {
    constexpr Index piece = Index{1} << 22;
    for (Index begin = 0; begin < count; begin += piece) {
      comm::agree(comm_, [&] {
        if (reads()) work(begin, std::min(piece, count - begin));
      });
      stop_.throw_if_wanted(comm_, "tokenize");
    }
  }

  /// As token_hash() of the first contexts; the same on all ranks. `visit` gets the ids.
  std::string hash_of(Index contexts, const std::function<void(Index begin, const std::vector<std::int32_t>& ids)>& visit = {}) {
    Digest digest;
    Index rows = reads() ? source_->offset(contexts) : 0;
    comm::spread(comm_, rows);
    in_pieces(rows, [&](Index begin, Index count) {
      const auto ids = source_->ids(begin, count);
      digest.add(std::span<const std::int32_t>(ids));
      if (visit) visit(begin, ids);
    });
    in_pieces(contexts + 1, [&](Index begin, Index count) {
      const auto offsets = offsets_of(begin, count);
      digest.add(std::span<const Index>(offsets));
    });
    return comm::decided(comm_, [&] { return digest.hex(); });
  }

  std::vector<Index> offsets_of(Index begin, Index count) const {
    std::vector<Index> offsets;
    for (Index c = begin; c < begin + count; ++c) offsets.push_back(source_->offset(c));
    return offsets;
  }

  void check_all() {
    Index context = 0;
    hash_of_all_ = hash_of(all_, [&](Index begin, const std::vector<std::int32_t>& ids) {
      const Index end = begin + static_cast<Index>(ids.size());
      for (; source_->file() == nullptr && context < contexts_ && source_->offset(context) < end; ++context)
        without_bos_ += ids[static_cast<std::size_t>(source_->offset(context) - begin)] == source_->bos_id() ? 0 : 1;
    });
    if (without_bos_ > 0) // an array does not say which id opens contexts
      log_warn("{} of {} contexts do not open with the BOS id {}", without_bos_, contexts_, source_->bos_id());
    comm::agree(comm_, [&] {
      require(!reads() || source_->hash().empty() || source_->hash() == hash_of_all_, ExitCode::bad_data,
              "{} is damaged: its tokens do not have the recorded hash", options_.token_ids.string());
    });
  }

  static constexpr const char* more[] = {"/context_document", "/byte_begin", "/byte_end"};

  void lay_out(io::File& file, const TokenCounts& counts) const {
    file.create_dataset("/tokens", {rows_}, Dtype::i32);
    file.create_dataset("/context_offsets", {contexts_ + 1}, Dtype::i64);
    if (const io::File* from = source_->file()) {
      for (const char* name : more)
        if (from->has(name)) file.create_dataset(name, {kept(name)}, Dtype::i64);
      if (from->has("/pieces")) file.write_strings("/pieces", from->read_strings("/pieces"));
    }
    file.write_attribute("token_hash", counts.hash);
    file.write_attribute("bos_id", std::to_string(source_->bos_id()));
  }

  Index kept(const std::string& name) const { return name == "/context_document" ? contexts_ : rows_; }

  void write(const TokenCounts& counts) {
    io::Output output(comm_, options_.out, key_, io::Output::Writers::root, options_.force, 20.0 * static_cast<double>(rows_),
                      [&](io::File& file) { lay_out(file, counts); });
    in_pieces(rows_, [&](Index begin, Index count) {
      output.file().dataset("/tokens").write_rows(begin, count, source_->ids(begin, count).data());
    });
    in_pieces(contexts_ + 1, [&](Index begin, Index count) {
      output.file().dataset("/context_offsets").write_rows(begin, count, offsets_of(begin, count).data());
    });
    for (const char* name : more) {
      const bool there = comm::decided(comm_, [&] { return source_->file() != nullptr && source_->file()->has(name); });
      if (!there) continue;
      in_pieces(kept(name), [&](Index begin, Index count) {
        output.file().dataset(name).write_rows(begin, count, source_->file()->dataset(name).read<Index>(begin, count).data());
      });
    }
    output.finish();
  }

  const comm::Communicator& comm_;
  const TokenizeOptions& options_;
  const StageKey& key_;
  comm::StopWithin stop_;
  std::unique_ptr<IdSource> source_; ///< on rank 0
  Index all_ = 0;                    ///< contexts of the source
  Index contexts_ = 0;               ///< of them those that are kept
  Index rows_ = 0;
  Index without_bos_ = 0; ///< contexts kept
  std::string hash_of_all_;
};

} // namespace

TokenCounts copy_ids(const comm::Communicator& comm, const TokenizeOptions& options, const StageKey& key) {
  return IdCopy(comm, options, key).run();
}

} // namespace concord::corpus
