#pragma once
/// Who owns which features of two layers that are correlated, and what each rank holds of them.
///
/// Ranks form a grid: a rank of grid row p and grid column q owns the correlations of A's features of part p with B's features of part q,
/// and holds those features alone, over all rows. A's lie as posting lists, B's as rows: what adds up one feature of A against all of B in
/// cache. Features that are active on more than a tenth of the rows lie densely, less a pilot value near their mean: so nothing cancels in
/// the sums of an always-on feature.

#include "concord/comm/session.hpp"
#include "concord/correlate/feature_source.hpp"

#include <vector>

namespace concord::correlate {

/// Features are dense when active on a larger share of rows: there the dense kernels win (docs/performance.md).
inline constexpr double dense_above = 0.1;

/// Features dealt to parts in order of falling firing counts, back and forth, so that all parts get a like share of the work. Dead ones
/// belong to nobody.
class Deal {
public:
  struct Place {
    std::int32_t part = -1;  ///< -1: dead
    std::int32_t local = -1; ///< its place in the part: the frequent ones in front, so all dense ones
  };
  Deal(const FeatureSource& source, int parts);
  const Place& place(Index feature) const { return places_[static_cast<std::size_t>(feature)]; }
  /// The features of a part in its order.
  const std::vector<std::int32_t>& features(int part) const { return features_[static_cast<std::size_t>(part)]; }
  /// How many of them are dense.
  Index dense(int part) const { return dense_[static_cast<std::size_t>(part)]; }

private:
  std::vector<Place> places_;
  std::vector<std::vector<std::int32_t>> features_;
  std::vector<Index> dense_;
};

/// Dense features in strips of `width` that lie side by side: strip s, row t, feature s * width + w. Padded with zeros.
class Strips {
public:
  Strips() = default;
  Strips(Index rows, Index features, Index width);
  Index count() const { return count_; }
  const float* at(Index strip, Index row) const { return values_.data() + (strip * rows_ + row) * width_; }
  float& value(Index feature, Index row) {
    return values_[static_cast<std::size_t>(((feature / width_) * rows_ + row) * width_ + feature % width_)];
  }
  double bytes() const { return 4.0 * static_cast<double>(values_.size()); }

private:
  Index rows_ = 0, width_ = 1, count_ = 0;
  std::vector<float> values_;
};

/// Dense features of a strip of A, and of a strip of B.
inline constexpr Index strip_a = 4;
inline constexpr Index strip_b = 16;

/// What both kinds of share have.
struct Share {
  Index rows = 0;
  std::vector<std::int32_t> features; ///< numbers in the layer
  Index dense = 0;                    ///< the first so many are dense
  std::vector<double> pilots;         ///< [dense, rounded up to whole strips]
  Strips strips;                      ///< the dense ones
  Index size() const { return static_cast<Index>(features.size()); }
};

/// Features of A: of each sparse one the rows on which it is active, ascending, and its values.
struct PostingShare : Share {
  std::vector<Index> begin; ///< [sparse features + 1]
  std::vector<std::int32_t> row;
  std::vector<float> value;
  double bytes() const;
};

/// Features of B: of each row the active sparse features with their values, side by side.
struct RowShare : Share {
  struct Entry {
    std::int32_t feature; ///< place in the share
    float value;
  };
  std::vector<Index> begin; ///< [rows + 1]
  std::vector<Entry> entries;
  double bytes() const;
};

/// The grid of a communicator's ranks, `columns` wide.
struct ShareGrid {
  int rows = 1;
  int columns = 1;
  int row(int rank) const { return rank / columns; }
  int column(int rank) const { return rank % columns; }
};

/// Rows [begin, end) of this rank's features; rows are read in shares and sent to the owners. `end` may lie behind the last row: then rows
/// go on from the first. Collective over `comm`. @throws as FeatureSource::read; agreed.
PostingShare load_postings(const comm::Communicator& comm, const ShareGrid& grid, const FeatureSource& source, const Deal& deal,
                           Index begin, Index end);
RowShare load_rows(const comm::Communicator& comm, const ShareGrid& grid, const FeatureSource& source, const Deal& deal, Index begin,
                   Index end);

} // namespace concord::correlate
