#pragma once
/// Who owns which features of two layers that are correlated, and what each rank holds of them.
///
/// Ranks form a grid: a rank of grid row p and grid column q owns the correlations of A's features of part p with B's features of part q,
/// and holds those features alone, over all rows. A's lie as posting lists, B's as rows, of which the ranks of a column on one node share
/// a copy: what adds up one feature of A against all of B in cache. Features that are active on more than a tenth of the rows lie densely,
/// less a pilot value near their mean: so nothing cancels in the sums of an always-on feature.

#include "concord/comm/node/node_array.hpp"
#include "concord/comm/stop.hpp"

#include "correlate/features/feature_source.hpp"
#include "correlate/sums/elements.hpp"
#include <algorithm>
#include <memory>
#include <span>
#include <vector>

namespace concord::correlate {

/// Features are dense when active on a larger share of rows: there the dense kernels win (docs/performance.md).
inline constexpr double dense_above = 0.1;

/// Dense features of a strip of A, and of a strip of B.
inline constexpr Index strip_a = 4;
inline constexpr Index strip_b = 16;

/// How the work on dense features compares with that on sparse ones, whose work is one for each active row.
struct DenseWork {
  Index strip;  ///< dense features that are taken together
  double a_row; ///< work of a strip, each row (fitted to the times of shares)
};
/// A strip of A is one pass over B's rows, as a sparse feature that is always on would be. A strip of B is so many entries more a row.
inline constexpr DenseWork dense_work_a{strip_a, 1};
inline constexpr DenseWork dense_work_b{strip_b, 8};

/// Features dealt to parts so that all get a like share of the work: strips of dense features, then the sparse ones in order of falling
/// firing counts, each to the part with the least so far. Dead ones belong to nobody. Within a part sparse features are dealt to blocks of
/// neighbouring places, in order of their counts, in turn.
class Deal {
public:
  struct Place {
    std::int32_t part = -1;  ///< -1: dead
    std::int32_t local = -1; ///< its place in the part: dense ones in front, in each block the frequent ones in front
  };
  /// @param block  the most features of a block; 0: all are one
  Deal(const FeatureSource& source, int parts, const DenseWork& dense, Index block = 0);
  const Place& place(Index feature) const { return places_[static_cast<std::size_t>(feature)]; }
  /// The features of a part in its order.
  const std::vector<std::int32_t>& features(int part) const { return features_[static_cast<std::size_t>(part)]; }
  /// How many of them are dense.
  Index dense(int part) const { return dense_[static_cast<std::size_t>(part)]; }
  /// The place behind each block of a part; dense features lie in front of the first one's. At least one block.
  const std::vector<Index>& block_ends(int part) const { return block_ends_[static_cast<std::size_t>(part)]; }

private:
  void deal_blocks(std::size_t part, Index block);
  std::vector<Place> places_;
  std::vector<std::vector<std::int32_t>> features_;
  std::vector<Index> dense_;
  std::vector<std::vector<Index>> block_ends_;
};

/// Dense features in strips of `width` that lie side by side: strip s, row t, feature s * width + w. Padded with zeros.
class Strips {
public:
  Strips() = default;
  /// In memory of its own, or in `elsewhere`: size() zeros.
  Strips(Index rows, Index features, Index width);
  Strips(Index rows, Index features, Index width, float* elsewhere);
  Strips(const Strips&) = delete;
  Strips& operator=(const Strips&) = delete;
  Strips(Strips&&) = default;
  Strips& operator=(Strips&&) = default;
  ~Strips() = default;
  /// Floats of so many strips.
  static Index size(Index rows, Index features, Index width) { return (features + width - 1) / width * width * rows; }
  Index count() const { return count_; }
  const float* at(Index strip, Index row) const { return values_ + (strip * rows_ + row) * width_; }
  /// Zeros in rows [begin, end).
  void clear(Index begin, Index end) {
    for (Index strip = 0; strip < count_; ++strip) std::fill_n(values_ + (strip * rows_ + begin) * width_, (end - begin) * width_, 0.0F);
  }
  float& value(Index feature, Index row) { return values_[((feature / width_) * rows_ + row) * width_ + feature % width_]; }

private:
  Index rows_ = 0, width_ = 1, count_ = 0;
  std::vector<float> own_;
  float* values_ = nullptr;
};

/// What both kinds of share have.
struct Share {
  Index rows = 0;
  std::vector<std::int32_t> features; ///< numbers in the layer
  Index dense = 0;                    ///< the first so many are dense
  std::vector<double> pilots;         ///< [dense, rounded up to whole strips]
  Strips strips;                      ///< the dense ones
  double held = 0;                    ///< bytes of this rank: its part of what it shares
  Index size() const { return static_cast<Index>(features.size()); }
};

/// Features of A: of each sparse one the rows on which it is active, ascending, and its values.
struct PostingShare : Share {
  std::vector<Index> begin; ///< [sparse features + 1]
  std::vector<Posting> postings;
};

/// Sparse features of B that a block may have: so many are told apart by two bytes.
inline constexpr Index widest_block = 1 << 16;

/// The active features of a row of B that belong to one block: 6 bytes each, since what adds them up waits for them to come from memory.
/// They lie in words of 4 bytes: the values, then the features, two a word.
struct BlockRow {
  const float* values;
  std::uint32_t count;
  /// Of the values' features: counted from the block's first sparse one.
  const std::uint16_t* places() const { return reinterpret_cast<const std::uint16_t*>(values + count); }
  static constexpr Index words(Index count) { return count + (count + 1) / 2; }
  static constexpr std::uint32_t count_of(std::uint64_t words) { return static_cast<std::uint32_t>(words * 2 / 3); }
};

/// Features of B: of each row the active sparse features with their values, side by side. In blocks of features, whose sums stay in cache
/// together.
struct RowShare : Share {
  struct Block {
    Index first = 0;              ///< place of its first feature; the dense ones are the first block's
    Index last = 0;               ///< behind its last
    Index sparse = 0;             ///< place of its first sparse feature
    std::span<const Index> begin; ///< [rows + 1] words in front of each row
    const float* words = nullptr; ///< rows as BlockRow says
    BlockRow row(Index t) const {
      const Index* at = begin.data() + t;
      return {words + at[0], BlockRow::count_of(static_cast<std::uint64_t>(at[1] - at[0]))};
    }
  };
  std::vector<Block> blocks;
  std::unique_ptr<comm::NodeArray> on_node; ///< where they lie
};

/// The grid of a communicator's ranks, `columns` wide. The ranks of a column follow one another: so they share nodes.
struct ShareGrid {
  int rows = 1;
  int columns = 1;
  int row(int rank) const { return rank % rows; }
  int column(int rank) const { return rank / rows; }
};

/// Rows [begin, end) of this rank's features; rows are read in shares and sent to the owners. `end` may lie behind the last row: then rows
/// go on from the first. Collective over `comm`. @throws as FeatureSource::read; stopped, where `stop` wants it; agreed.
PostingShare load_postings(const comm::Communicator& comm, const ShareGrid& grid, const FeatureSource& source, const Deal& deal,
                           Index begin, Index end, const comm::StopWithin* stop = nullptr);

/// An upper bound of the bytes that a rank takes of a whole share, loading it included. `sharing`: ranks of a column that surely share a
/// node. Local.
double postings_bytes(const ShareGrid& grid, int rank, const FeatureSource& source, const Deal& deal);
double rows_bytes(const ShareGrid& grid, int rank, const FeatureSource& source, const Deal& deal, int sharing);

/// Names the features of a part of the deal, and the means of its dense ones. Local.
void lay_out(Share& share, const FeatureSource& source, const Deal& deal, int part, Strips strips, Index rows, Index width);

/// Entries of the features [first, last) of a part in all rows. Local.
Index entries_of(const FeatureSource& source, const Deal& deal, int part, Index first, Index last);

} // namespace concord::correlate
