#include "concord/correlate/features/feature_share.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/core/at.hpp"
#include "concord/core/error.hpp"
#include "concord/core/machine/memory.hpp"
#include "concord/dist/partition.hpp"

#include <cstring>
#include <numeric>
#include <queue>

namespace concord::correlate {
namespace {

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
Index rows_a_read(const FeatureSource& source) {
  const Index per_row = source.entries() / std::max<Index>(1, source.rows()) + 1;
  return std::clamp<Index>((Index{1} << 18) / per_row, 1, Index{1} << 15);
}

/// Reads rows [begin, end) and sorts their items by parts; `first` is the row that counts as 0.
void read_items(const FeatureSource& source, const Deal& deal, int parts, Index begin, Index end, Index first, Sorted& sorted) {
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

/// The blocks of a part of B, without entries.
std::vector<RowShare::Block> blocks_of(const Deal& deal, int part) {
  std::vector<RowShare::Block> blocks;
  Index first = 0;
  for (const Index last : deal.block_ends(part)) {
    blocks.push_back({first, last, std::max(first, deal.dense(part)), {}, nullptr});
    require(last - blocks.back().sparse <= widest_block, ExitCode::internal, "a block of {} features", last - blocks.back().sparse);
    first = last;
  }
  return blocks;
}

/// Entries of the features [first, last) of a part in all rows.
Index entries_of(const FeatureSource& source, const Deal& deal, int part, Index first, Index last) {
  Index entries = 0;
  for (Index j = first; j < last; ++j) entries += source.totals().count[at(deal.features(part)[at(j)])];
  return entries;
}

/// Those of all its sparse features.
Index sparse_entries(const FeatureSource& source, const Deal& deal, int part) {
  return entries_of(source, deal, part, deal.dense(part), static_cast<Index>(deal.features(part).size()));
}

/// Items of some of B's rows as blocks hold them (BlockRow); those of dense features go into strips.
class RowPacker {
public:
  explicit RowPacker(RowShare& share) : share_(share), packed_(share.blocks.size()) {
    for (std::size_t k = 0; k < packed_.size(); ++k) {
      const auto features = at(share.blocks[k].last - share.blocks[k].sparse);
      packed_[k].values.resize(features);
      packed_[k].places.resize(features + 1);
    }
  }

  /// What came of the last rows for a block.
  struct Packed {
    std::vector<float> words;
    std::vector<Index> ends; ///< words up to each row's end
    Index entries = 0;
    // the row at hand
    std::vector<float> values;
    std::vector<std::uint16_t> places;
    std::size_t count = 0;
  };
  const std::vector<Packed>& packed() const { return packed_; }

  /// Items of rows [first, last), in row order.
  void pack(std::span<const Item> items, Index first, Index last) {
    for (Packed& packed : packed_) {
      packed.words.clear();
      packed.ends.clear();
      packed.entries = 0;
    }
    auto item = items.begin();
    for (Index row = first; row < last; ++row) {
      for (; item != items.end() && item->row == row; ++item)
        if (item->local < share_.dense)
          share_.strips.value(item->local, row) = item->value;
        else
          add(*item);
      for (Packed& packed : packed_) end_row(packed);
    }
  }

private:
  /// Blocks are shares that differ by one at most (Deal).
  std::size_t block_of(Index local) const {
    if (packed_.size() == 1) return 0;
    return at(dist::Partition{share_.size() - share_.dense, static_cast<int>(packed_.size())}.owner(local - share_.dense));
  }
  void add(const Item& item) {
    const auto k = block_of(item.local);
    Packed& packed = packed_[k];
    require(packed.count < packed.values.size(), ExitCode::bad_data, "a row names a feature twice; make the features anew");
    packed.values[packed.count] = item.value;
    packed.places[packed.count++] = static_cast<std::uint16_t>(item.local - share_.blocks[k].sparse);
  }
  static void end_row(Packed& packed) {
    const auto before = packed.words.size();
    const auto words = at(BlockRow::words(static_cast<Index>(packed.count)));
    packed.places[packed.count] = 0; // fills the last word where their number is odd
    packed.words.resize(before + words);
    std::copy_n(packed.values.begin(), packed.count, packed.words.begin() + static_cast<Index>(before));
    if (packed.count > 0) // memcpy takes no null pointer, which an empty array has
      std::memcpy(packed.words.data() + before + packed.count, packed.places.data(), (words - packed.count) * sizeof(float));
    packed.ends.push_back(static_cast<Index>(packed.words.size()));
    packed.entries += static_cast<Index>(packed.count);
    packed.count = 0;
  }

  RowShare& share_;
  std::vector<Packed> packed_;
};

/// Bytes on their way while a layer is loaded: read, sorted by part, sent and received.
double loading_bytes(const FeatureSource& source) {
  return 4.0 * sizeof(Item) * static_cast<double>(std::min(source.entries(), rows_a_read(source) * (source.entries() / source.rows() + 1)));
}

} // namespace

Deal::Deal(const FeatureSource& source, int parts, const DenseWork& dense, Index block)
    : places_(at(source.features())), features_(at(parts)), dense_(at(parts), 0), block_ends_(at(parts)) {
  const auto& count = source.totals().count;
  const auto rows = static_cast<double>(source.rows());
  std::vector<std::int32_t> order(count.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](auto x, auto y) { return count[at(x)] > count[at(y)]; });
  const auto first_where = [&](auto&& holds) {
    return std::partition_point(order.begin(), order.end(), [&](auto j) { return !holds(j); });
  };
  const auto sparse = first_where([&](auto j) { return static_cast<double>(count[at(j)]) <= dense_above * rows; });
  const auto dead = first_where([&](auto j) { return count[at(j)] == 0; });

  using Load = std::pair<double, int>; // of a part
  std::priority_queue<Load, std::vector<Load>, std::greater<>> loads;
  for (int part = 0; part < parts; ++part) loads.emplace(0, part);
  const auto give_to_least = [&](auto begin, auto end, double work) {
    const auto [load, part] = loads.top();
    loads.pop();
    loads.emplace(load + work, part);
    features_[at(part)].insert(features_[at(part)].end(), begin, end);
    return at(part);
  };
  for (auto strip = order.begin(); strip != sparse;) {
    const auto end = strip + std::min<std::ptrdiff_t>(dense.strip, sparse - strip);
    dense_[give_to_least(strip, end, dense.a_row * rows)] += end - strip;
    strip = end;
  }
  for (auto feature = sparse; feature != dead; ++feature) give_to_least(feature, feature + 1, static_cast<double>(count[at(*feature)]));

  for (std::size_t part = 0; part < features_.size(); ++part) {
    deal_blocks(part, block);
    for (std::size_t i = 0; i < features_[part].size(); ++i)
      places_[at(features_[part][i])] = {static_cast<std::int32_t>(part), static_cast<std::int32_t>(i)};
  }
}

void Deal::deal_blocks(std::size_t part, Index block) {
  auto& features = features_[part];
  const Index dense = dense_[part];
  const Index sparse = static_cast<Index>(features.size()) - dense;
  const Index blocks = block > 0 ? std::max<Index>(1, (sparse + block - 1) / block) : 1;
  const std::vector<std::int32_t> by_count(features.begin() + dense, features.end());
  Index place = dense;
  for (Index k = 0; k < blocks; ++k) {
    for (Index i = k; i < sparse; i += blocks) features[at(place++)] = by_count[at(i)];
    block_ends_[part].push_back(place);
  }
}

Strips::Strips(Index rows, Index features, Index width) : Strips(rows, features, width, nullptr) {
  const auto floats = static_cast<std::size_t>(size(rows, features, width));
  reserve_huge(own_, floats);
  own_.resize(floats, 0.0F);
  values_ = own_.data();
}

Strips::Strips(Index rows, Index features, Index width, float* elsewhere)
    : rows_(rows), width_(width), count_((features + width - 1) / width), values_(elsewhere) {}

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

/// A share of B's rows in memory of the node.
struct RowPieces::Memory {
  Memory(const comm::Communicator& of_ranks, const ShareGrid& of_grid, const FeatureSource& of_source, const Deal& of_deal,
         const comm::StopWithin* of_pair)
      : comm(of_ranks), grid(of_grid), source(of_source), deal(of_deal), stop(of_pair), part(grid.column(comm.rank())) {}
  const comm::Communicator& comm;
  const ShareGrid& grid;
  const FeatureSource& source;
  const Deal& deal;
  const comm::StopWithin* stop;
  int part;
  RowShare share;
  /// A block's memory, and how much of it is filled.
  struct Room {
    Index* begin;
    float* words;
    Index most; ///< words that there is room for
    Index filled = 0;
    Index entries = 0;
  };
  std::vector<Room> rooms; ///< of each block

  /// Strips of `rows` rows, then each block's offsets and words. `entries`: the most of each block.
  void take(const comm::Communicator& column, Index rows, const std::vector<Index>& entries) {
    static_assert(sizeof(Index) == 2 * sizeof(float));
    const Index of_strips = Strips::size(rows, deal.dense(part), strip_b);
    const auto most_words = [&](Index count) { return (count + (count + rows + 1) / 2 + 1) / 2 * 2; }; // whole offsets
    Index floats = of_strips;
    for (const Index count : entries) floats += 2 * (rows + 1) + most_words(count);
    share.on_node = std::make_unique<comm::NodeArray>(column, floats, std::vector<int>{}, comm::NodeArray::Taking::as_written);
    float* memory = share.on_node->values().data();
    lay_out(share, source, deal, part, Strips(rows, deal.dense(part), strip_b, memory), rows, strip_b);
    share.blocks = blocks_of(deal, part);
    share.held = 4.0 * static_cast<double>(floats) / share.on_node->copy().size();
    float* next = memory + of_strips;
    for (const Index count : entries) {
      rooms.push_back({reinterpret_cast<Index*>(next), next + 2 * (rows + 1), most_words(count)});
      next = rooms.back().words + rooms.back().most;
    }
  }

  /// Rows [begin, end), each rank of a copy its slices.
  void fill(const RowRange& range) {
    const auto& copy = share.on_node->copy();
    for (Room& room : rooms) room.filled = room.entries = 0;
    Routes routes{comm, {}, grid.columns};
    routes.takers = comm::all_gather(comm, std::vector<Routes::Taker>{{part, copy.rank(), copy.size()}});
    RowPacker packer(share);
    for_each_piece_of(routes, source, deal, range.begin, range.end, stop, [&](std::span<const Item> items, Index first, Index count) {
      const dist::Partition slices{count, copy.size()};
      const Index begin = first + slices.begin(copy.rank());
      const Index end = first + slices.end(copy.rank());
      if (first == 0) share.on_node->sync(); // behind it nobody reads what was loaded before
      share.strips.clear(begin, end);
      packer.pack(items, begin, end);
      append(packer.packed(), begin);
    });
    share.on_node->sync();
    share.rows = range.end - range.begin;
    for (std::size_t k = 0; k < rooms.size(); ++k) {
      rooms[k].begin[0] = 0;
      share.blocks[k].begin = {rooms[k].begin, at(share.rows + 1)};
      share.blocks[k].words = rooms[k].words;
    }
  }

  /// What the ranks of the copy have packed, behind one another. `row`: the first of this rank's.
  void append(const std::vector<RowPacker::Packed>& packed, Index row) {
    struct Size {
      Index words, entries;
    };
    const auto& copy = share.on_node->copy();
    std::vector<Size> mine;
    mine.reserve(packed.size());
    for (const auto& block : packed) mine.push_back({static_cast<Index>(block.words.size()), block.entries});
    const auto all = comm::all_gather(copy, mine);
    for (std::size_t k = 0; k < rooms.size(); ++k) {
      Room& room = rooms[k];
      Index before = room.filled;
      for (std::size_t rank = 0; rank < at(copy.size()); ++rank) {
        if (rank < at(copy.rank())) before += all[rank * rooms.size() + k].words;
        room.filled += all[rank * rooms.size() + k].words;
        room.entries += all[rank * rooms.size() + k].entries;
      }
      require(room.filled <= room.most, ExitCode::bad_data, "features are active on more rows than counted; make the features anew");
      std::copy(packed[k].words.begin(), packed[k].words.end(), room.words + before);
      for (std::size_t r = 0; r < packed[k].ends.size(); ++r) room.begin[row + static_cast<Index>(r) + 1] = before + packed[k].ends[r];
    }
  }
};

RowShare load_rows(const comm::Communicator& comm, const comm::Communicator& column, const ShareGrid& grid, const FeatureSource& source,
                   const Deal& deal, const comm::StopWithin* stop) {
  RowPieces::Memory memory(comm, grid, source, deal, stop);
  std::vector<Index> entries;
  for (const auto& block : blocks_of(deal, memory.part)) entries.push_back(entries_of(source, deal, memory.part, block.sparse, block.last));
  memory.take(column, source.rows(), entries);
  memory.fill({0, source.rows()});
  for (std::size_t k = 0; k < entries.size(); ++k)
    require(memory.rooms[k].entries == entries[k], ExitCode::bad_data,
            "features are active on fewer rows than counted; make the features anew");
  return std::move(memory.share);
}

RowPieces::RowPieces(const comm::Communicator& comm, const comm::Communicator& column, const ShareGrid& grid, const FeatureSource& source,
                     const Deal& deal, const std::vector<RowRange>& pieces, const comm::StopWithin* stop)
    : memory_(std::make_unique<Memory>(comm, grid, source, deal, stop)) {
  Index rows = 0;
  Index entries = 0;
  comm::agree(comm, [&] {
    for (const auto& [begin, end] : pieces) {
      const Index behind = std::max<Index>(0, end - source.rows()); // rows from the first on
      const Index last = std::min(end, source.rows());
      rows = std::max(rows, end - begin);
      entries =
          std::max(entries, source.entries(std::min(begin, last), last) + source.entries(behind - std::min(behind, end - begin), behind));
    }
  });
  // How a piece's entries fall to blocks is not known. Memory is taken as it is written, so room for all of them in each costs nothing.
  memory_->take(column, rows, std::vector<Index>(deal.block_ends(memory_->part).size(), entries));
}

RowPieces::~RowPieces() = default;

const RowShare& RowPieces::load(const RowRange& piece) {
  memory_->fill(piece);
  return memory_->share;
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
