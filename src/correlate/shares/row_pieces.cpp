#include "correlate/shares/row_pieces.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/core/at.hpp"
#include "concord/core/error.hpp"
#include "concord/dist/partition.hpp"

#include "correlate/shares/routes.hpp"
#include "correlate/shares/row_packer.hpp"

namespace concord::correlate {
namespace {

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

} // namespace

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

} // namespace concord::correlate
