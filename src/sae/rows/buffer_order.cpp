#include "concord/sae/rows/buffer_order.hpp"

#include "concord/core/at.hpp"
#include "concord/core/error.hpp"
#include "concord/core/philox.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace concord::sae {
std::function<std::vector<bool>(Index, Index)> usable_rows_of(const io::RowKinds& kinds, bool keep_special) {
  return [kinds, keep_special](Index begin, Index end) {
    std::vector<bool> usable;
    usable.reserve(at(end - begin));
    for (const std::uint8_t kind : kinds(begin, end)) usable.push_back(keep_special || !io::is_bos(kind));
    return usable;
  };
}

BufferOrder::BufferOrder(std::vector<Index> block_offsets, TakesPart takes_part, double held_out, Index buffer_rows, Index batch,
                         std::uint64_t seed)
    : block_offsets_(std::move(block_offsets)), takes_part_(std::move(takes_part)), batch_(batch), seed_(seed) {
  const Index blocks = static_cast<Index>(block_offsets_.size()) - 1;
  require(blocks >= 2, ExitCode::bad_data, "training from a buffer needs at least 2 blocks of contexts; lower extract.batch");
  for (Index b = 0; b < blocks; ++b) largest_ = std::max(largest_, block_rows(b));
  require(largest_ > 0, ExitCode::bad_data, "the {} blocks of the activations hold no rows", blocks);
  blocks_a_window_ = std::max<Index>(1, buffer_rows / largest_);
  const IndexPermutation split(blocks, Philox(seed_, "buffer-split", 0));
  const double wanted = std::min(65536.0, held_out * static_cast<double>(block_offsets_.back()));
  double held = 0;
  for (Index i = 0; i < blocks; ++i) {
    const Index block = split(i);
    if (held < wanted && i + 1 < blocks) {
      held_out_.push_back(block);
      held += static_cast<double>(block_rows(block));
    } else {
      training_.push_back(block);
    }
  }
  first_window_of_pass(0, 0);
  const Index first_steps = window_.steps;
  require(first_steps > 0, ExitCode::config,
          "a buffer of {} blocks holds {} usable rows, less than a batch of {}; raise sae.buffer_rows or "
          "lower sae.batch",
          window_.blocks.size(), window_rows_.size(), batch_);
}

Index BufferOrder::block_rows(Index block) const {
  return block_offsets_[at(block + 1)] - block_offsets_[at(block)];
}

std::string BufferOrder::idle_parts(int parts) const {
  const auto training = static_cast<Index>(training_.size());
  const Index blocks = std::min(blocks_a_window_, training);
  if (blocks >= parts) return "";
  const auto facts = fmt::format("a window has {} blocks of up to {} rows for {} replicas of the model: {} of these get no rows", blocks,
                                 largest_, parts, parts - blocks);
  if (training >= parts) return fmt::format("{}; raise sae.buffer_rows to {} or lower extract.batch", facts, parts * largest_);
  return fmt::format("{}; lower extract.batch, since the corpus has {} training blocks, or take fewer ranks", facts, training);
}

std::vector<BufferOrder::Row> BufferOrder::usable_rows(const std::vector<Index>& blocks) const {
  std::vector<Row> rows;
  for (std::size_t place = 0; place < blocks.size(); ++place) {
    const Index first = block_offsets_[at(blocks[place])];
    const auto usable = takes_part_(first, first + block_rows(blocks[place]));
    for (Index r = 0; r < block_rows(blocks[place]); ++r)
      if (usable[at(r)]) rows.push_back({static_cast<Index>(place), r, first + r});
  }
  return rows;
}

void BufferOrder::first_window_of_pass(Index pass, Index first_step) {
  const IndexPermutation order(static_cast<Index>(training_.size()), Philox(seed_, "buffer-pass", static_cast<std::uint64_t>(pass)));
  pass_blocks_.clear();
  for (Index i = 0; i < static_cast<Index>(training_.size()); ++i) pass_blocks_.push_back(training_[at(order(i))]);
  window_ = {};
  window_.pass = pass;
  window_.number = -1;
  window_.first_step = first_step;
  next_window();
}

/// Rows behind the last whole batch of a window wait for the next pass, which deals the blocks anew.
void BufferOrder::next_window() {
  const Index number = window_.number + 1;
  const Index first_step = window_.first_step + window_.steps;
  const std::size_t begin = at(number * blocks_a_window_);
  if (begin >= pass_blocks_.size()) {
    first_window_of_pass(window_.pass + 1, first_step);
    return;
  }
  const std::size_t end = std::min(pass_blocks_.size(), begin + at(blocks_a_window_));
  window_.blocks.assign(pass_blocks_.begin() + static_cast<std::ptrdiff_t>(begin), pass_blocks_.begin() + static_cast<std::ptrdiff_t>(end));
  window_.number = number;
  window_.first_step = first_step;
  window_rows_ = usable_rows(window_.blocks);
  window_.steps = static_cast<Index>(window_rows_.size()) / batch_;
}

Window BufferOrder::window_of(Index step) {
  if (step < window_.first_step) first_window_of_pass(0, 0);
  while (step >= window_.first_step + window_.steps) next_window();
  return window_;
}

std::vector<BufferOrder::Row> BufferOrder::drawn(const Window& window, Index begin, Index count, int part, int parts) {
  const IndexPermutation order(
      static_cast<Index>(window_rows_.size()),
      Philox(seed_, "buffer-window", static_cast<std::uint64_t>(window.pass), static_cast<std::uint64_t>(window.number)));
  std::vector<Row> rows;
  for (Index i = begin; i < begin + count; ++i) {
    Row row = window_rows_[at(order(i))];
    row.position = i - begin;
    if (row.place % parts == part) rows.push_back(row);
  }
  return rows;
}

std::vector<BufferOrder::Row> BufferOrder::rows_of(Index step, int part, int parts) {
  const Window window = window_of(step);
  return drawn(window, (step - window.first_step) * batch_, batch_, part, parts);
}

std::vector<BufferOrder::Row> BufferOrder::first_rows(Index count, int part, int parts) {
  const Window window = window_of(0);
  return drawn(window, 0, std::min(count, static_cast<Index>(window_rows_.size())), part, parts);
}

std::vector<BufferOrder::Row> BufferOrder::held_out_rows(int part, int parts) const {
  auto rows = usable_rows(held_out_);
  std::erase_if(rows, [&](const Row& row) { return row.place % parts != part; });
  return rows;
}

} // namespace concord::sae
