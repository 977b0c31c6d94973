#include "concord/sae/rows/window_feed.hpp"

#include "concord/core/at.hpp"
#include "concord/core/digest.hpp"
#include "concord/core/error.hpp"
#include "concord/core/log.hpp"
#include "concord/io/hdf5.hpp"
#include "concord/io/rows/block_offsets.hpp"
#include "concord/io/rows/row_source.hpp"

#include "sae/rows/feed_sizes.hpp"
#include <algorithm>

namespace concord::sae {

WindowFeed::WindowFeed(std::shared_ptr<BufferOrder> order, Index cols, Dtype dtype, Names names, int part, int parts)
    : order_(std::move(order)), cols_(cols), dtype_(dtype), names_(std::move(names)), part_(part), parts_(parts) {}

void WindowFeed::begin(const std::vector<Index>& blocks) {
  blocks_ = blocks;
  rows_.resize(blocks.size());
  for (auto& rows : rows_) rows.clear();
}

void WindowFeed::put(Index block, const char* rows) {
  const auto place = at(std::find(blocks_.begin(), blocks_.end(), block) - blocks_.begin());
  require(place < blocks_.size(), ExitCode::internal, "block {} is not in the window", block);
  rows_[place].assign(rows, rows + order_->block_rows(block) * cols_ * static_cast<Index>(size_of(dtype_)));
}

/// Makes sure that these blocks are the window.
void WindowFeed::need(const std::vector<Index>& blocks) {
  if (blocks_ == blocks) return;
  require(static_cast<bool>(read_), ExitCode::internal, "the window of another step is in memory");
  begin(blocks);
  for (std::size_t place = at(part_); place < blocks.size(); place += at(parts_)) {
    rows_[place].resize(at(order_->block_rows(blocks[place]) * cols_) * size_of(dtype_));
    read_(blocks[place], rows_[place].data());
  }
}

void WindowFeed::take(const std::vector<BufferOrder::Row>& from, Batch& batch) {
  batch.positions.clear();
  for (const auto& row : from) batch.positions.push_back(row.position);
  auto& rows = batch.rows;
  rows.resize(from.size() * at(cols_));
  const std::size_t row_bytes = at(cols_) * size_of(dtype_);
  for (std::size_t i = 0; i < from.size(); ++i) {
    const std::span<float> to(rows.data() + i * at(cols_), at(cols_));
    const auto& block = rows_[at(from[i].place)];
    require(block.size() >= at(from[i].row + 1) * row_bytes, ExitCode::internal, "row {} is not in the window", from[i].file_row);
    to_float(block.data() + at(from[i].row) * row_bytes, dtype_, to);
    io::check_finite(to, cols_, from[i].file_row, names_.location);
  }
}

Index WindowFeed::sample_rows() const {
  Index count = 0;
  for (int part = 0; part < parts_; ++part) count += static_cast<Index>(order_->first_rows(sample_size, part, parts_).size());
  return count;
}

void WindowFeed::sample(Batch& sample) {
  need(order_->window_of(0).blocks);
  take(order_->first_rows(sample_size, part_, parts_), sample);
}

void WindowFeed::batch(Index step, Batch& batch) {
  need(order_->window_of(step).blocks);
  take(order_->rows_of(step, part_, parts_), batch);
}

void WindowFeed::held_out(const std::function<void(std::span<const float>)>& each) {
  need(order_->held_out_blocks());
  const auto all = order_->held_out_rows(part_, parts_);
  Batch piece;
  for (std::size_t begin = 0; begin < all.size(); begin += held_out_piece) {
    const std::size_t end = std::min(all.size(), begin + held_out_piece);
    take({all.begin() + static_cast<std::ptrdiff_t>(begin), all.begin() + static_cast<std::ptrdiff_t>(end)}, piece);
    each(piece.rows);
  }
}

// --- two models ---------------------------------------------------------------------------------------------------------

std::unique_ptr<RowFeed> window_feed_of_file(const std::string& location, const FeedSettings& s, Index buffer_rows) {
  auto source = std::make_shared<io::RowSource>(location);
  const auto colon = location.rfind(":/");
  require(colon != std::string::npos, ExitCode::config, "sae.order = \"buffer\" needs the blocks of an activations file, not {}", location);
  const auto offsets = io::read_block_offsets(io::File::open(location.substr(0, colon)), source->rows());
  auto order =
      std::make_shared<BufferOrder>(offsets, usable_rows_of(source->row_kinds(), s.keep_special), s.held_out, buffer_rows, s.batch, s.seed);
  if (const auto idle = order->idle_parts(s.parts); !idle.empty()) log_warn("{}: {}", location, idle);
  auto feed =
      std::make_unique<WindowFeed>(order, source->cols(), source->dtype(),
                                   WindowFeed::Names{source->location(), source->digest(), source->attribute("model")}, s.part, s.parts);
  feed->fill_by(
      [source, offsets](Index block, char* out) { source->read(offsets[at(block)], offsets[at(block + 1)] - offsets[at(block)], out); });
  return feed;
}

} // namespace concord::sae
