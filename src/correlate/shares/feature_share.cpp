#include "correlate/shares/feature_share.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/core/at.hpp"
#include "concord/core/error.hpp"
#include "concord/core/machine/memory.hpp"

#include "correlate/shares/routes.hpp"
#include <numeric>

namespace concord::correlate {

void lay_out(Share& share, const FeatureSource& source, const Deal& deal, int part, Strips strips, Index rows, Index width) {
  share.rows = rows;
  share.features = deal.features(part);
  share.dense = deal.dense(part);
  share.strips = std::move(strips);
  share.pilots.assign(at(share.strips.count() * width), 0.0);
  for (Index j = 0; j < share.dense; ++j) {
    const auto feature = at(share.features[at(j)]);
    share.pilots[at(j)] = static_cast<float>(source.totals().sum[feature] / static_cast<double>(source.rows()));
  }
}

Index entries_of(const FeatureSource& source, const Deal& deal, int part, Index first, Index last) {
  Index entries = 0;
  for (Index j = first; j < last; ++j) entries += source.totals().count[at(deal.features(part)[at(j)])];
  return entries;
}

namespace {

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
    reserve_huge(share_.postings, entries);
    share_.postings.resize(entries);
  }
  void place(const Item& item) { share_.postings[at(next_[at(item.local - share_.dense)]++)] = {item.row, item.value}; }

  PostingShare& share_;
  bool whole_;
  std::vector<Index> next_;
  std::vector<Item> items_;
};

std::vector<Routes::Taker> takers_of(const ShareGrid& grid, int ranks, bool of_a) {
  std::vector<Routes::Taker> takers;
  takers.reserve(at(ranks));
  for (int rank = 0; rank < ranks; ++rank) takers.push_back({of_a ? grid.row(rank) : grid.column(rank)});
  return takers;
}

/// Those of all its sparse features.
Index sparse_entries(const FeatureSource& source, const Deal& deal, int part) {
  return entries_of(source, deal, part, deal.dense(part), static_cast<Index>(deal.features(part).size()));
}

/// Bytes on their way while a layer is loaded: read, sorted by part, sent and received.
double loading_bytes(const FeatureSource& source) {
  return 4.0 * sizeof(Item) * static_cast<double>(std::min(source.entries(), rows_a_read(source) * (source.entries() / source.rows() + 1)));
}

} // namespace

PostingShare load_postings(const comm::Communicator& comm, const ShareGrid& grid, const FeatureSource& source, const Deal& deal,
                           Index begin, Index end, const comm::StopWithin* stop) {
  const Routes routes{comm, takers_of(grid, comm.size(), true), grid.rows};
  PostingShare share;
  const int part = routes.mine().part;
  lay_out(share, source, deal, part, Strips(end - begin, deal.dense(part), strip_a), end - begin, strip_a);
  Lists lists(share, source);
  for_each_piece_of(routes, source, deal, begin, end, stop, [&](std::span<const Item> items, Index, Index) {
    for (const Item& item : items)
      if (item.local < share.dense)
        share.strips.value(item.local, item.row) = item.value;
      else
        lists.add(item);
  });
  lists.finish();
  share.held = 4.0 * static_cast<double>(Strips::size(share.rows, share.dense, strip_a)) +
               8.0 * static_cast<double>(share.postings.size() + share.begin.size());
  return share;
}

double postings_bytes(const ShareGrid& grid, int rank, const FeatureSource& source, const Deal& deal) {
  const int part = grid.row(rank);
  const Index sparse = sparse_entries(source, deal, part);
  return 8.0 * static_cast<double>(sparse) + 4.0 * static_cast<double>(Strips::size(source.rows(), deal.dense(part), strip_a)) +
         loading_bytes(source);
}

double rows_bytes(const ShareGrid& grid, int rank, const FeatureSource& source, const Deal& deal, int sharing) {
  const int part = grid.column(rank);
  const auto blocks = static_cast<Index>(deal.block_ends(part).size());
  const Index sparse = sparse_entries(source, deal, part);
  const double copy = 6.0 * static_cast<double>(sparse) + 10.0 * static_cast<double>(blocks * source.rows()) +
                      4.0 * static_cast<double>(Strips::size(source.rows(), deal.dense(part), strip_b));
  return copy / sharing + loading_bytes(source);
}

} // namespace concord::correlate
