#include "concord/correlate/feature_share.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/core/error.hpp"
#include "concord/core/memory.hpp"
#include "concord/dist/partition.hpp"

#include <numeric>

namespace concord::correlate {
namespace {

std::size_t at(Index i) {
  return static_cast<std::size_t>(i);
}

/// An active feature on its way to the ranks of its part.
struct Item {
  std::int32_t row;
  std::int32_t local;
  float value;
};

/// Items of each part of one layer, to the ranks that own the part.
struct Routes {
  const comm::Communicator& comm;
  std::vector<int> part_of; ///< the part of each rank
  int parts;

  int mine() const { return part_of[at(comm.rank())]; }

  /// What all ranks hold of this rank's part, in rank order.
  std::vector<Item> exchange(const std::vector<std::vector<Item>>& items) const {
    if (comm.size() == 1) return items.front();
    std::vector<Item> out;
    std::vector<Index> begin_of_part, begin, count;
    for (const auto& part : items) {
      begin_of_part.push_back(static_cast<Index>(out.size()));
      out.insert(out.end(), part.begin(), part.end());
    }
    for (const int part : part_of) { // ranks of one part are sent the same run
      begin.push_back(begin_of_part[at(part)]);
      count.push_back(static_cast<Index>(items[at(part)].size()));
    }
    return comm::exchange(comm, out, begin, count);
  }
};

/// Rows that a rank reads at once: few enough for buffers that stay in cache, and are not fresh memory each time.
Index rows_a_read(const FeatureSource& source) {
  const Index per_row = source.entries() / std::max<Index>(1, source.rows()) + 1;
  return std::clamp<Index>((Index{1} << 18) / per_row, 1, Index{1} << 15);
}

/// This rank's rows of those from `begin` on, as items of each part; `first` is the row that counts as 0.
std::vector<std::vector<Item>> items_of(const FeatureSource& source, const Deal& deal, int parts, Index begin, Index end, Index first) {
  std::vector<std::vector<Item>> items(at(parts));
  if (begin == end) return items;
  const io::CsrMatrix rows = source.read(begin, end);
  for (Index r = 0; r < rows.rows; ++r)
    for (Index e = rows.indptr[at(r)]; e < rows.indptr[at(r) + 1]; ++e) {
      const auto& place = deal.place(rows.indices[at(e)]);
      require(place.part >= 0, ExitCode::bad_data, "feature {} is active on row {} but counted as dead; make the features anew",
              rows.indices[at(e)], begin + r);
      items[at(place.part)].push_back({static_cast<std::int32_t>(begin + r - first), place.local, rows.values[at(e)]});
    }
  return items;
}

/// Calls `take` with this rank's items of rows [begin, end) in row order, rows counted from `begin`.
template <typename Take>
void for_each_item_of(const Routes& routes, const FeatureSource& source, const Deal& deal, Index begin, Index end, Take&& take) {
  const auto& comm = routes.comm;
  const Index rows = source.rows();
  Index here = begin;
  while (here < end) {
    const Index first = here % rows; // behind the last row follows the first
    const Index count = std::min({rows_a_read(source) * comm.size(), end - here, rows - first});
    const dist::Partition shares{count, comm.size()};
    std::vector<std::vector<Item>> items;
    comm::agree(comm, [&] {
      items =
          items_of(source, deal, routes.parts, first + shares.begin(comm.rank()), first + shares.end(comm.rank()), first - (here - begin));
    });
    for (const Item& item : routes.exchange(items)) take(item);
    here += count;
  }
}

void lay_out(Share& share, const FeatureSource& source, const Deal& deal, int part, Index rows, Index width) {
  share.rows = rows;
  share.features = deal.features(part);
  share.dense = deal.dense(part);
  share.strips = Strips(rows, share.dense, width);
  share.pilots.assign(at(share.strips.count() * width), 0.0);
  for (Index j = 0; j < share.dense; ++j) {
    const auto feature = at(share.features[at(j)]);
    share.pilots[at(j)] = static_cast<float>(source.totals().sum[feature] / static_cast<double>(source.rows()));
  }
}

/// Entries of a share's sparse features in its rows, if they are spread evenly.
std::size_t sparse_entries(const Share& share, const FeatureSource& source) {
  double entries = 0;
  for (std::size_t j = at(share.dense); j < share.features.size(); ++j)
    entries += static_cast<double>(source.totals().count[at(share.features[j])]);
  return static_cast<std::size_t>(std::ceil(entries * static_cast<double>(share.rows) / static_cast<double>(source.rows())));
}

/// Fills the posting lists of a share with items in row order: at once where they hold all rows, since then their lengths are known;
/// fresh memory costs more than the work on it.
class Lists {
public:
  Lists(PostingShare& share, const FeatureSource& source) : share_(share), whole_(share.rows == source.rows()) {
    share_.begin.assign(at(share_.size() - share_.dense + 1), 0);
    if (!whole_) return;
    for (Index j = share_.dense; j < share_.size(); ++j)
      share_.begin[at(j - share_.dense) + 1] = source.totals().count[at(share_.features[at(j)])];
    make_room();
  }
  void add(const Item& item) {
    const auto list = at(item.local - share_.dense);
    if (whole_) {
      require(next_[list] < share_.begin[list + 1], ExitCode::bad_data,
              "feature {} is active on more rows than counted; make the features anew", share_.features[at(item.local)]);
      place(item);
    } else {
      ++share_.begin[list + 1];
      items_.push_back(item);
    }
  }
  void finish() {
    if (!whole_) {
      make_room();
      for (const Item& item : items_) place(item);
    }
    for (std::size_t list = 0; list < next_.size(); ++list)
      require(next_[list] == share_.begin[list + 1], ExitCode::bad_data,
              "feature {} is active on fewer rows than counted; make the features anew", share_.features[list + at(share_.dense)]);
  }

private:
  void make_room() {
    std::partial_sum(share_.begin.begin(), share_.begin.end(), share_.begin.begin());
    next_.assign(share_.begin.begin(), share_.begin.end() - 1);
    const auto entries = at(share_.begin.back());
    reserve_huge(share_.row, entries);
    reserve_huge(share_.value, entries);
    share_.row.resize(entries);
    share_.value.resize(entries);
  }
  void place(const Item& item) {
    const auto entry = at(next_[at(item.local - share_.dense)]++);
    share_.row[entry] = item.row;
    share_.value[entry] = item.value;
  }

  PostingShare& share_;
  bool whole_;
  std::vector<Index> next_;
  std::vector<Item> items_;
};

std::vector<int> parts_of(const ShareGrid& grid, int ranks, bool of_a) {
  std::vector<int> parts;
  parts.reserve(static_cast<std::size_t>(ranks));
  for (int rank = 0; rank < ranks; ++rank) parts.push_back(of_a ? grid.row(rank) : grid.column(rank));
  return parts;
}

} // namespace

Deal::Deal(const FeatureSource& source, int parts) : places_(at(source.features())), features_(at(parts)), dense_(at(parts), 0) {
  const auto& count = source.totals().count;
  std::vector<std::int32_t> order(count.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](auto x, auto y) { return count[at(x)] > count[at(y)]; });
  for (std::size_t i = 0; i < order.size() && count[at(order[i])] > 0; ++i) {
    const auto turn = i / at(parts);
    const auto step = i % at(parts);
    const auto part = turn % 2 == 0 ? step : at(parts) - 1 - step;
    places_[at(order[i])] = {static_cast<std::int32_t>(part), static_cast<std::int32_t>(features_[part].size())};
    features_[part].push_back(order[i]);
    if (static_cast<double>(count[at(order[i])]) > dense_above * static_cast<double>(source.rows())) ++dense_[part];
  }
}

Strips::Strips(Index rows, Index features, Index width) : rows_(rows), width_(width), count_((features + width - 1) / width) {
  const auto size = static_cast<std::size_t>(count_ * rows * width);
  reserve_huge(values_, size);
  values_.resize(size, 0.0F);
}

double PostingShare::bytes() const {
  return strips.bytes() + 8.0 * static_cast<double>(row.size() + begin.size());
}

double RowShare::bytes() const {
  return strips.bytes() + 8.0 * static_cast<double>(entries.size() + begin.size());
}

PostingShare load_postings(const comm::Communicator& comm, const ShareGrid& grid, const FeatureSource& source, const Deal& deal,
                           Index begin, Index end) {
  const Routes routes{comm, parts_of(grid, comm.size(), true), grid.rows};
  PostingShare share;
  lay_out(share, source, deal, routes.mine(), end - begin, strip_a);
  Lists lists(share, source);
  for_each_item_of(routes, source, deal, begin, end, [&](const Item& item) {
    if (item.local < share.dense)
      share.strips.value(item.local, item.row) = item.value;
    else
      lists.add(item);
  });
  lists.finish();
  return share;
}

RowShare load_rows(const comm::Communicator& comm, const ShareGrid& grid, const FeatureSource& source, const Deal& deal, Index begin,
                   Index end) {
  const Routes routes{comm, parts_of(grid, comm.size(), false), grid.columns};
  RowShare share;
  lay_out(share, source, deal, routes.mine(), end - begin, strip_b);
  reserve_huge(share.entries, sparse_entries(share, source));
  reserve_huge(share.begin, at(end - begin) + 1);
  share.begin.assign(at(end - begin) + 1, 0);
  for_each_item_of(routes, source, deal, begin, end, [&](const Item& item) {
    if (item.local < share.dense) {
      share.strips.value(item.local, item.row) = item.value;
    } else {
      share.entries.push_back({item.local, item.value});
      ++share.begin[at(item.row) + 1];
    }
  });
  std::partial_sum(share.begin.begin(), share.begin.end(), share.begin.begin());
  return share;
}

} // namespace concord::correlate
