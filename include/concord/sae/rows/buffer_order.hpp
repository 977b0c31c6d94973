#pragma once
/// The order of training rows when they stream through a buffer: blocks of the extraction are visited in random order, a
/// window of them is held in memory, and its rows are drawn in random order. Arithmetic alone: any step's rows are known
/// without those before. Local.

#include "concord/core/index.hpp"
#include "concord/io/rows/row_kinds.hpp"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace concord::sae {

/// Blocks that are in memory together, and the steps that train on them.
struct Window {
  std::vector<Index> blocks;
  Index first_step = 0;
  Index steps = 0;
  Index pass = 0;
  Index number = 0; ///< within the pass
};

/// Rows of kind 0, or of every kind. Local.
std::function<std::vector<bool>(Index begin, Index end)> usable_rows_of(const io::RowKinds& kinds, bool keep_special);

class BufferOrder {
public:
  /// Which rows take part is asked of `takes_part(begin, end)`, a window at a time. Windows hold as many blocks as fit `buffer_rows` rows,
  /// at least one.
  /// @throws Error bad_data (a single block: nothing can be held out) or config (a window with less than a batch).
  using TakesPart = std::function<std::vector<bool>(Index begin, Index end)>;
  BufferOrder(std::vector<Index> block_offsets, TakesPart takes_part, double held_out, Index buffer_rows, Index batch, std::uint64_t seed);
  /// The window that holds a step.
  Window window_of(Index step);
  const std::vector<Index>& held_out_blocks() const { return held_out_; }
  Index block_rows(Index block) const;
  /// What to change where a window has fewer blocks than `parts`, so that some parts get no rows; "" where all get some.
  std::string idle_parts(int parts) const;

  /// A usable row: which block of the list it is in, and which row of that block.
  struct Row {
    Index place;
    Index row;
    Index file_row;
    Index position = 0; ///< place in the batch or the sample
  };
  /// The rows of a step that belong to `part` of `parts`: those of the window's blocks part, part + parts, ...
  std::vector<Row> rows_of(Index step, int part, int parts);
  /// The first `count` training rows.
  std::vector<Row> first_rows(Index count, int part, int parts);
  std::vector<Row> held_out_rows(int part, int parts) const;
  Index batch() const { return batch_; }

private:
  std::vector<Row> usable_rows(const std::vector<Index>& blocks) const;
  std::vector<Row> drawn(const Window& window, Index begin, Index count, int part, int parts);
  void first_window_of_pass(Index pass, Index first_step);
  void next_window();
  std::vector<Index> block_offsets_;
  TakesPart takes_part_;
  Index batch_;
  std::uint64_t seed_;
  Index blocks_a_window_ = 1;
  Index largest_ = 1;           ///< rows of a block
  std::vector<Index> training_; ///< blocks
  std::vector<Index> held_out_; ///< blocks
  std::vector<Index> pass_blocks_;
  Window window_;
  std::vector<Row> window_rows_; ///< usable rows of window_
};

} // namespace concord::sae
