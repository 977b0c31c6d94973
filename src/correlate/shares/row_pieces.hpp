#pragma once
/// B's rows in the memory of a node: all at once, or piece by piece where they do not fit. Collective over the communicator of the pair of
/// layers.

#include "correlate/shares/feature_share.hpp"
#include <memory>
#include <vector>

namespace concord::correlate {

/// All rows, once a node. `deal` has blocks of `widest_block` features at most. @param column  the ranks of this rank's column in their
/// order. Collective over `comm`. @throws as FeatureSource::read; stopped, where `stop` wants it; agreed.
RowShare load_rows(const comm::Communicator& comm, const comm::Communicator& column, const ShareGrid& grid, const FeatureSource& source,
                   const Deal& deal, const comm::StopWithin* stop = nullptr);

/// Rows [begin, end); `end` may lie behind the last row, then rows go on from the first.
struct RowRange {
  Index begin, end;
};

/// Pieces of B's rows one after another, each once a node, in memory that is taken once. Collective over `comm`.
class RowPieces {
public:
  /// @param column  the ranks of this rank's column in their order
  /// @param pieces  all that will be loaded: the largest says how much memory is taken
  /// All but `pieces` must live as long, and `stop`, which ends a load where it wants to. @throws Error io, or unavailable where there is
  /// no memory; agreed.
  RowPieces(const comm::Communicator& comm, const comm::Communicator& column, const ShareGrid& grid, const FeatureSource& source,
            const Deal& deal, const std::vector<RowRange>& pieces, const comm::StopWithin* stop = nullptr);
  ~RowPieces();
  RowPieces(const RowPieces&) = delete;
  RowPieces& operator=(const RowPieces&) = delete;
  /// Invalidates the piece that was loaded before. @throws as FeatureSource::read; stopped; agreed.
  const RowShare& load(const RowRange& piece);

private:
  struct Memory;
  friend RowShare load_rows(const comm::Communicator& comm, const comm::Communicator& column, const ShareGrid& grid,
                            const FeatureSource& source, const Deal& deal, const comm::StopWithin* stop);
  std::unique_ptr<Memory> memory_;
};

} // namespace concord::correlate
