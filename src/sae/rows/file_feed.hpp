#pragma once
/// Training rows from files, of one model or of two, and one feed for several trainings. Local.

#include "concord/io/rows/row_source.hpp"
#include "concord/sae/rows/row_feed.hpp"

#include "sae/rows/owned_rows.hpp"
#include <functional>
#include <future>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace concord::sae {

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
  mutable std::unique_ptr<OwnedRows> share_; ///< made when the first row is asked for: a training that is done reads none
  mutable std::unique_ptr<RowOrder> order_;
  Ahead ahead_; ///< last, so that its thread ends before what it reads
};

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
