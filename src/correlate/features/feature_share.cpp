#include "correlate/features/feature_share.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/core/at.hpp"
#include "concord/core/error.hpp"
#include "concord/core/machine/memory.hpp"
#include "concord/dist/partition.hpp"

#include "correlate/features/routes.hpp"
#include <cstring>
#include <numeric>

namespace concord::correlate {
namespace {

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
