#pragma once
/// What the kernels for GPUs look at, and what each is asked for (device_kernels.hpp). Local.

#include "concord/core/machine/warp.hpp"

#include "correlate/sums/elements.hpp"
#include <cstddef>
#include <cstdint>
#include <limits>
#include <variant>

namespace concord::correlate::device {

using Index = std::int64_t;

inline constexpr double no_r = -std::numeric_limits<double>::infinity();
inline constexpr std::int32_t no_feature = std::numeric_limits<std::int32_t>::max();

/// Features of B whose sums with a feature of A lie in shared memory at once, at most; a multiple of 32.
inline constexpr Index most_of_block = 2048;

/// An active feature on a row of B.
struct RowEntry {
  std::int32_t place; ///< in the block
  float value;
};

/// A's features, by places of the share; arrays as in PostingShare.
struct PostingsView {
  static constexpr Index strip = 4; ///< dense features side by side
  Index rows;
  Index dense;
  const Index* begin;
  const Posting* postings;
  const float* strips;
  const double* pilots;
  const std::int32_t* names; ///< numbers in the layer
  const double* sum;         ///< moments
  const double* inverse;
};

/// A block of B's sparse features, which take the columns from `column` on.
struct BlockView {
  const Index* begin;
  const RowEntry* entries;
  Index size;   ///< features
  Index column; ///< a multiple of 32
};

/// B's features. Sums have a column for each: the dense ones in front, then block after block, each beginning at a multiple of 32.
struct RowsView {
  static constexpr Index strip = 16; ///< dense features side by side
  Index rows;
  Index dense;
  const BlockView* blocks;
  Index block_count;
  Index widest; ///< features of a block
  const float* strips;
  const double* pilots;
  Index columns;             ///< a multiple of 32
  const std::int32_t* names; ///< [columns] as are
  const double* sum;
  const double* inverse; ///< NaN where a column has no feature
};

/// Sums of some features of A with all columns. Those whose bit is not stored are zeros, and not there.
struct Chunk {
  const Index* features; ///< [count] places
  Index count;
  Accumulator* sums;     ///< [count, columns]
  std::uint32_t* stored; ///< [count, columns / 32] bits
};

struct PairView {
  PostingsView a;
  RowsView b;
  Chunk chunk;
};

// --- kernels: what they work on, and how many warps and bytes of shared memory a warp they need ---------------------------------------

/// Adds the rows of A beside rows of B, row t beside row t + shift, to the sums with B's sparse features. `fresh`: nothing is stored yet.
struct AddBlocks {
  PairView pair;
  Index shift;
  bool fresh;
  Index warps() const { return pair.chunk.count * pair.b.block_count; }
  Index shared() const { return pair.b.widest * static_cast<Index>(sizeof(double) + sizeof(std::uint32_t)); }
};

/// The same for B's dense features.
struct AddStrips {
  PairView pair;
  Index shift;
  bool fresh;
  Index warps() const { return pair.chunk.count * ((pair.b.dense + warp_lanes - 1) / warp_lanes); }
  Index shared() const { return 0; }
};

/// The best partners of each of the chunk's features: `best` [count, places], best first; unused places hold no_r and no_feature.
struct BestOfRows {
  PairView pair;
  Index places;
  Partner* best;
  Index warps() const { return pair.chunk.count; }
  Index shared() const { return places * static_cast<Index>(sizeof(Partner)); }
};

/// Takes the chunk's features into the best partners of each column: `best` [columns, places].
struct BestOfColumns {
  PairView pair;
  Index places;
  Partner* best;
  Index warps() const { return pair.b.columns / warp_lanes; }
  Index shared() const { return warp_lanes * places * static_cast<Index>(sizeof(Partner)); } // 32 KiB for 64 partners
};

/// Pairs with r > limit_a (by place) + limit_b (by column), in no order. Without `found` they are counted alone.
struct FindExceeding {
  PairView pair;
  const double* limit_a;
  const double* limit_b;
  Exceeding* found;
  std::uint64_t* count;
  Index warps() const { return pair.chunk.count; }
  Index shared() const { return 0; }
};

using Kernel = std::variant<AddBlocks, AddStrips, BestOfRows, BestOfColumns, FindExceeding>;

} // namespace concord::correlate::device
