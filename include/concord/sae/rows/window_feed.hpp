#pragma once
/// Training rows that stream through a buffer. Local.

#include "concord/core/dtype.hpp"
#include "concord/sae/rows/buffer_order.hpp"
#include "concord/sae/rows/row_feed.hpp"

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace concord::sae {

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

} // namespace concord::sae
