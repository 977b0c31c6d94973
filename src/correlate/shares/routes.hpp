#pragma once
/// The way of active features from the ranks that read them to those that take them.

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/core/at.hpp"
#include "concord/core/error.hpp"
#include "concord/dist/partition.hpp"

#include "correlate/shares/feature_share.hpp"

namespace concord::correlate {

/// An active feature on its way to the ranks of its part.
struct Item {
  std::int32_t row;
  std::int32_t local;
  float value;
};

/// Items of some rows, part after part, each part's in row order. Kept from piece to piece, whose memory is the same.
struct Sorted {
  std::vector<Item> items;  ///< more where there once were more
  std::vector<Index> begin; ///< [parts + 1]
  std::span<const Item> of(int part) const {
    return std::span(items).subspan(at(begin[at(part)]), at(begin[at(part) + 1] - begin[at(part)]));
  }
};

/// Items of each part of one layer, to the ranks that take them: of all rows that are read at once those of the rank's slice.
struct Routes {
  struct Taker {
    int part;
    int slice = 0;
    int slices = 1;
  };
  const comm::Communicator& comm;
  std::vector<Taker> takers; ///< of each rank
  int parts;

  const Taker& mine() const { return takers[at(comm.rank())]; }

  /// Whether each rank takes just what it reads: ranks read in order and in like shares, and so do slices follow one another.
  bool nothing_travels() const {
    for (std::size_t rank = 0; rank < takers.size(); ++rank)
      if (takers[rank].slices != comm.size() || takers[rank].slice != static_cast<int>(rank)) return false;
    return parts == 1;
  }

  /// What all ranks hold of this rank's part and slice, in rank order. `sorted`: rows [first, first + count).
  std::vector<Item> exchange(const Sorted& sorted, Index first, Index count) const {
    std::vector<Index> begin, counts;
    for (const Taker& taker : takers) { // runs may overlap
      const auto part = sorted.of(taker.part);
      const dist::Partition slices{count, taker.slices};
      const auto before = [&](Index row) {
        return std::partition_point(part.begin(), part.end(), [&](const Item& item) { return item.row < row; }) - part.begin();
      };
      const Index from = before(first + slices.begin(taker.slice));
      begin.push_back(sorted.begin[at(taker.part)] + from);
      counts.push_back(before(first + slices.end(taker.slice)) - from);
    }
    return comm::exchange(comm, sorted.items, begin, counts);
  }
};

/// Rows that a rank reads at once: few enough for buffers that stay in cache, and are not fresh memory each time.
inline Index rows_a_read(const FeatureSource& source) {
  const Index per_row = source.entries() / std::max<Index>(1, source.rows()) + 1;
  return std::clamp<Index>((Index{1} << 18) / per_row, 1, Index{1} << 15);
}

/// Reads rows [begin, end) and sorts their items by parts; `first` is the row that counts as 0.
inline void read_items(const FeatureSource& source, const Deal& deal, int parts, Index begin, Index end, Index first, Sorted& sorted) {
  sorted.begin.assign(at(parts) + 1, 0);
  if (begin == end) return;
  const io::CsrMatrix rows = source.read(begin, end);
  const auto entries = rows.indices.size();
  for (std::size_t e = 0; e < entries; ++e) {
    const int part = deal.place(rows.indices[e]).part;
    require(part >= 0, ExitCode::bad_data, "feature {} is active on a row from {} to {} but counted as dead; make the features anew",
            rows.indices[e], begin, end - 1);
    if (parts > 1) ++sorted.begin[at(part) + 1];
  }
  std::partial_sum(sorted.begin.begin(), sorted.begin.end(), sorted.begin.begin());
  sorted.begin.back() = static_cast<Index>(entries);
  if (sorted.items.size() < entries) sorted.items.resize(entries);
  std::vector<Index> next(sorted.begin.begin(), sorted.begin.end() - 1);
  for (Index r = 0; r < rows.rows; ++r)
    for (Index e = rows.indptr[at(r)]; e < rows.indptr[at(r) + 1]; ++e) {
      const auto& place = deal.place(rows.indices[at(e)]);
      const Item item{static_cast<std::int32_t>(begin + r - first), place.local, rows.values[at(e)]};
      sorted.items[at(parts == 1 ? e : next[at(place.part)]++)] = item;
    }
}

/// Calls `take(items, first, count)` with this rank's items of rows [first, first + count), in row order, for all of [begin, end) piece by
/// piece; rows are counted from `begin`. @throws Error stopped.
template <typename Take>
void for_each_piece_of(const Routes& routes, const FeatureSource& source, const Deal& deal, Index begin, Index end,
                       const comm::StopWithin* stop, Take&& take) {
  const auto& comm = routes.comm;
  const Index rows = source.rows();
  const bool travels = !routes.nothing_travels();
  Sorted sorted;
  std::vector<Item> received;
  Index here = begin;
  while (here < end) {
    const Index first = here % rows; // behind the last row follows the first
    const Index count = std::min({rows_a_read(source) * comm.size(), end - here, rows - first});
    const dist::Partition shares{count, comm.size()};
    comm::agree(comm, [&] {
      read_items(source, deal, routes.parts, first + shares.begin(comm.rank()), first + shares.end(comm.rank()), first - (here - begin),
                 sorted);
    });
    if (travels) received = routes.exchange(sorted, here - begin, count);
    take(travels ? std::span<const Item>(received) : sorted.of(0), here - begin, count);
    here += count;
    if (stop != nullptr) stop->throw_if_wanted(comm, "correlate");
  }
}

} // namespace concord::correlate
