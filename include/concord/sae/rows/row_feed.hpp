#pragma once
/// Where the rows of a training come from, in an order that does not depend on ranks; each rank is handed its part. Local.

#include "concord/comm/gpu/gpu.hpp"
#include "concord/io/rows/row_source.hpp"
#include "concord/sae/rows/buffer_order.hpp"
#include "concord/sae/rows/row_share.hpp"

#include <functional>
#include <future>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace concord::sae {

/// One rank's rows of a batch, as stored.
struct Batch {
  comm::StagingVector<float> rows; ///< [n, cols]
  std::vector<Index> positions;    ///< place of each in the batch
};

class RowFeed {
public:
  RowFeed() = default;
  RowFeed(const RowFeed&) = delete;
  RowFeed& operator=(const RowFeed&) = delete;
  virtual ~RowFeed() = default;
  virtual Index cols() const = 0;
  /// Widths of the models whose rows stand side by side; they add up to cols().
  virtual std::vector<Index> parts() const { return {cols()}; }
  virtual std::string location() const = 0; ///< for messages
  virtual std::string digest() const = 0;   ///< identity of the rows
  virtual std::string model() const = 0;    ///< path of the model they come from, "" when unknown
  /// Rows of all ranks in the sample that fixes scale and centre before the first step.
  virtual Index sample_rows() const = 0;
  /// This rank's part of the sample, with places in the sample.
  virtual void sample(Batch& sample) = 0;
  /// This rank's part of the batch of `step`, ascending by place in the batch.
  /// @throws Error bad_data when a row is not finite.
  virtual void batch(Index step, Batch& batch) = 0;
  /// Hands this rank's held-out rows out, [n, cols] at a time.
  virtual void held_out(const std::function<void(std::span<const float> rows)>& each) = 0;
};

/// What all feeds are told.
struct FeedSettings {
  Index batch = 4096;     ///< rows of a global batch
  double held_out = 0.02; ///< share of rows kept for evaluation, at most 65,536 rows
  bool keep_special = false;
  double memory_bytes = 0x1p32;
  std::uint64_t seed = 0;
  int layer = 0;
  int part = 0; ///< of `parts` ranks
  int parts = 1;
};

/// Rows of a file in one random order over all of it. A thread reads the next batch while the trainer works on this one.
class FileFeed final : public RowFeed {
public:
  FileFeed(const std::string& location, const FeedSettings& settings);
  Index cols() const override { return source_.cols(); }
  std::string location() const override { return source_.location(); }
  std::string digest() const override { return source_.digest(); }
  std::string model() const override { return source_.attribute("model"); }
  Index sample_rows() const override;
  void sample(Batch& sample) override;
  void batch(Index step, Batch& batch) override;
  void held_out(const std::function<void(std::span<const float>)>& each) override;

  /// batch() without reading ahead.
  void read(Index step, Batch& batch) const;
  const io::RowSource& source() const { return source_; }

private:
  void take(Index begin, Index count, Batch& batch) const;
  void open() const;
  void wait_for_reader() const;
  struct Ahead {
    Index step = -1;
    Batch batch;
    std::future<void> done;
  };
  FeedSettings settings_;
  io::RowSource source_;
  mutable std::unique_ptr<RowShare> share_; ///< made when the first row is asked for: a training that is done reads none
  mutable std::unique_ptr<RowOrder> order_;
  Ahead ahead_; ///< last, so that its thread ends before what it reads
};

/// Rows in windows of shuffled blocks (buffer_order.hpp): whoever makes the rows fills the window, the trainer draws from it.
class WindowFeed final : public RowFeed {
public:
  struct Names {
    std::string location, digest, model;
  };
  WindowFeed(std::shared_ptr<BufferOrder> order, Index cols, Dtype dtype, Names names, int part, int parts);
  /// Empties the window for these blocks.
  void begin(const std::vector<Index>& blocks);
  /// The stored bytes of all rows of a block of this rank's part.
  void put(Index block, const char* rows);
  /// Lets batch() fill windows by itself with `read(block, out)`.
  void fill_by(std::function<void(Index block, char* out)> read) { read_ = std::move(read); }

  Index cols() const override { return cols_; }
  std::string location() const override { return names_.location; }
  std::string digest() const override { return names_.digest; }
  std::string model() const override { return names_.model; }
  Index sample_rows() const override;
  void sample(Batch& sample) override;
  void batch(Index step, Batch& batch) override;
  void held_out(const std::function<void(std::span<const float>)>& each) override;

private:
  void need(const std::vector<Index>& blocks);
  void take(const std::vector<BufferOrder::Row>& from, Batch& batch);
  std::shared_ptr<BufferOrder> order_;
  Index cols_;
  Dtype dtype_;
  Names names_;
  int part_;
  int parts_;
  std::function<void(Index, char*)> read_;
  std::vector<Index> blocks_;           ///< of the window
  std::vector<std::vector<char>> rows_; ///< stored bytes of each block of the window that is this rank's
};

/// A WindowFeed that reads the rows of an activations file: trains as `extract.fused` does, bit for bit.
std::unique_ptr<RowFeed> window_feed_of_file(const std::string& location, const FeedSettings& settings, Index buffer_rows);

/// The rows of two models for the same tokens, side by side: what a crosscoder trains on.
class PairFeed final : public RowFeed {
public:
  /// @throws Error bad_data when the two do not hold the same tokens.
  PairFeed(const std::string& location_a, const std::string& location_b, const FeedSettings& settings);
  Index cols() const override { return a_.cols() + b_.cols(); }
  std::vector<Index> parts() const override { return {a_.cols(), b_.cols()}; }
  std::string location() const override { return a_.location() + " and " + b_.location(); }
  std::string digest() const override;
  std::string model() const override { return a_.model() + " and " + b_.model(); }
  Index sample_rows() const override { return a_.sample_rows(); }
  void sample(Batch& sample) override;
  void batch(Index step, Batch& batch) override;
  void held_out(const std::function<void(std::span<const float>)>& each) override;

private:
  void read(Index step);
  void stop_reader();
  void join(Batch& batch);
  FileFeed a_;
  FileFeed b_;
  Batch of_a_;
  Batch of_b_;
  Index ahead_step_ = -1;
  std::future<void> ahead_; ///< last, so that its thread ends before what it reads
};

/// One feed for several trainings that go step by step together: a batch is read once. The source must outlive it.
class SharedFeed final : public RowFeed {
public:
  explicit SharedFeed(RowFeed& source) : source_(source) {}
  Index cols() const override { return source_.cols(); }
  std::vector<Index> parts() const override { return source_.parts(); }
  std::string location() const override { return source_.location(); }
  std::string digest() const override { return source_.digest(); }
  std::string model() const override { return source_.model(); }
  Index sample_rows() const override { return source_.sample_rows(); }
  void sample(Batch& sample) override { source_.sample(sample); }
  void batch(Index step, Batch& batch) override;
  void held_out(const std::function<void(std::span<const float>)>& each) override { source_.held_out(each); }

private:
  RowFeed& source_;
  Index step_ = -1;
  Batch kept_;
};

} // namespace concord::sae
