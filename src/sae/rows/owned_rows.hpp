#pragma once
/// The training rows that a rank owns, served in the order of a global permutation. Local.

#include "concord/core/philox.hpp"
#include "concord/io/rows/row_source.hpp"

#include <span>
#include <vector>

namespace concord::sae {

/// Order of all usable rows of a layer: a fixed permutation puts `held_out` of them aside, and each pass over the others
/// has a permutation of its own. A position of the order is the same row at any number of ranks.
class RowOrder {
public:
  RowOrder(Index usable, Index held_out, std::uint64_t seed, int layer);
  Index training_rows() const { return usable_ - held_out_; }
  Index held_out_rows() const { return held_out_; }
  /// Usable row at a training position (0, 1, ... beyond one pass).
  Index training_row(Index position);
  /// Usable row number i of the held-out ones.
  Index held_out_row(Index i) const { return split_(i); }

private:
  Index usable_;
  Index held_out_;
  std::uint64_t seed_;
  int layer_;
  IndexPermutation split_;
  Index pass_ = -1;
  IndexPermutation pass_order_;
};

/// Usable rows [begin, end) of a source as floats, from memory when they fit `memory_bytes`, else read in windows that are
/// sorted and merged so that the disk sees long runs.
class OwnedRows {
public:
  OwnedRows(const io::RowSource& source, bool keep_special, int part, int parts, double memory_bytes);
  Index usable() const { return static_cast<Index>(usable_total_); }
  bool owns(Index usable_row) const { return usable_row >= begin_ && usable_row < end_; }
  /// Rows in the order given (all owned) into out [n, d]. @throws Error bad_data when not finite.
  void gather(std::span<const Index> usable_rows, std::span<float> out) const;

private:
  void load();
  void read_sorted(std::span<const Index> usable_rows, std::span<float> out) const;
  const io::RowSource& source_;
  Index usable_total_ = 0;
  Index begin_ = 0;
  Index end_ = 0;
  std::vector<Index> rows_;  ///< file row of each owned usable row
  std::vector<char> memory_; ///< their stored bytes, empty when they are read on demand
};

} // namespace concord::sae
