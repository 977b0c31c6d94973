#include "correlate/device/device_sweep.hpp"

#include "concord/comm/collectives.hpp"
#include "concord/core/at.hpp"

namespace concord::correlate::device {
namespace {

/// Of one of A's features with all columns.
double sums_bytes(Index columns) {
  return static_cast<double>(columns) * (sizeof(Accumulator) + sizeof(std::uint32_t) / static_cast<double>(warp_lanes));
}

/// The same chunk, whose sums are those of another shift.
Chunk of_shift(Chunk chunk, std::size_t shift, Index columns) {
  chunk.sums += static_cast<Index>(shift) * chunk.count * columns;
  chunk.stored += static_cast<Index>(shift) * chunk.count * (columns / warp_lanes);
  return chunk;
}

void add(Device& device, const PairView& pair, Index shift, bool fresh) {
  device.launch(AddBlocks{pair, shift, fresh});
  device.launch(AddStrips{pair, shift, fresh});
}

} // namespace

DeviceSweep::DeviceSweep(const comm::Communicator& comm, const comm::Communicator& column, int sharing, const ShareGrid& grid,
                         const PairRows& rows, Device& device, KeptOnDevice& kept, const SweepMemory& memory)
    : PairSums(comm, grid, rows), column_(column), sharing_(sharing), device_(device), kept_(kept), memory_(memory),
      columns_(rows.deal_b, grid.column(comm.rank())) {}

void DeviceSweep::run(const std::vector<Index>& shifts, const Visit& visit, const Wanted* wanted) {
  std::vector<Index> features; // the frequent ones first: what takes longest begins first
  for (Index j = 0; j < size_a() && columns_.count() > 0; ++j)
    if (wanted == nullptr || (*wanted)[at(j)] != 0) features.push_back(j);
  if (rows_.whole_a)
    run_whole(features, shifts, visit);
  else
    run_pieces(features, shifts, visit);
}

/// As many of the features as fit, with room for the sums of `shifts` shifts one behind another.
Chunk DeviceSweep::chunk_of(const std::vector<Index>& features, std::size_t shifts) {
  const double bytes = sums_bytes(columns_.count()) * static_cast<double>(shifts);
  const auto count = std::clamp<Index>(static_cast<Index>(memory_.sums / bytes), 1, static_cast<Index>(features.size()));
  const auto columns = at(count * columns_.count()) * shifts;
  kept_.make_sums(columns);
  features_ = DeviceArray<Index>(device_, std::span(features).first(at(count)));
  return {features_.data(), count, kept_.sums().data(), kept_.stored().data()};
}

void DeviceSweep::run_whole(const std::vector<Index>& features, const std::vector<Index>& shifts, const Visit& visit) {
  sum_whole(features, shifts, visit);
  stop_.throw_if_wanted(comm_, "correlate");
}

void DeviceSweep::sum_whole(const std::vector<Index>& features, const std::vector<Index>& shifts, const Visit& visit) {
  if (features.empty()) return;
  const auto a = kept_.postings(rows_.whole_a, postings_bytes_on_device(rows_.a, rows_.deal_a, grid_.row(comm_.rank())));
  const auto b = kept_.rows(rows_.whole_b, columns_, rows_bytes_on_device(rows_.b, rows_.deal_b, grid_.column(comm_.rank())));
  PairView pair{a->share.view(), b->share.view(), {}};
  a->facts.fill(pair.a);
  b->facts.fill(pair.b);
  for (auto begin = features.begin(); begin != features.end();) {
    pair.chunk = chunk_of({begin, features.end()}, 1);
    const std::vector<Index> here(begin, begin + pair.chunk.count);
    for (std::size_t s = 0; s < shifts.size(); ++s) {
      if (stop_.wanted_here()) return;
      add(device_, pair, shifts[s], true);
      visit(pair, here, static_cast<Index>(s));
    }
    begin += pair.chunk.count;
  }
}

/// Rows of a piece on every rank: A's, and B's beside them one shift after another.
Index DeviceSweep::rows_a_piece() const {
  const RowEntries entries = row_entries(rows_, grid_);
  const auto blocks = static_cast<double>(columns_.blocks());
  const auto dense_a = 4.0 * static_cast<double>(dense_a_ + strip_a);
  const auto dense_b = 4.0 * static_cast<double>(dense_b_ + strip_b);
  const double on_host = 24 * entries.a + dense_a + (10 * blocks + 6 * entries.b + dense_b) / sharing_;
  const double on_device = 8 * entries.a + 8 * entries.b + dense_a + dense_b + 8 * blocks;
  const double fitting = std::min(memory_.host / on_host, memory_.rows / on_device);
  const Index rows = rows_.a.rows();
  return rows - comm::max_of(comm_, rows - std::clamp<Index>(static_cast<Index>(fitting), 1, rows));
}

/// Adds all rows to the sums of a chunk, which lie one shift behind another; none where this rank has no features left, but it reads with
/// the others. The first time the moments are taken, too.
void DeviceSweep::add_pieces(const Chunk& chunk, Index piece, const std::vector<Index>& shifts, RowPieces& pieces_of_b) {
  const Index rows = rows_.a.rows();
  for (Index first = 0; first < rows; first += piece) {
    const Index last = std::min(rows, first + piece);
    const auto a = load_postings(comm_, grid_, rows_.a, rows_.deal_a, first, last, &stop_);
    if (!have_moments_) moments_a_.add(a);
    const PostingsOnDevice a_there(device_, a);
    for (std::size_t s = 0; s < shifts.size(); ++s) {
      const auto& b = pieces_of_b.load({first + shifts[s], last + shifts[s]});
      if (!have_moments_ && s == 0) moments_b_.add(b);
      if (chunk.count == 0) continue;
      const RowsOnDevice b_there(device_, b, columns_);
      add(device_, {a_there.view(), b_there.view(), of_shift(chunk, s, columns_.count())}, 0, first == 0);
    }
  }
  if (have_moments_) return;
  moments_a_.finish(rows);
  moments_b_.finish(rows);
  have_moments_ = true;
}

void DeviceSweep::run_pieces(const std::vector<Index>& features, const std::vector<Index>& shifts, const Visit& visit) {
  const Index piece = rows_a_piece();
  RowPieces pieces_of_b(comm_, column_, grid_, rows_.b, rows_.deal_b, piece_ranges(rows_.a.rows(), piece, shifts), &stop_);
  auto begin = features.begin();
  // The ranks may need different numbers of passes, but pass together.
  while (comm::max_of(comm_, Index{begin != features.end() || !have_moments_}) > 0) {
    Chunk chunk{};
    if (begin != features.end()) chunk = chunk_of({begin, features.end()}, shifts.size());
    add_pieces(chunk, piece, shifts, pieces_of_b);
    if (chunk.count == 0) continue;
    const auto of_a = facts_of_a(device_, names_a_, moments_a_);
    const auto of_b = facts_of_b(device_, columns_, names_b_, moments_b_);
    PairView pair{};
    pair.a.rows = rows_.a.rows();
    pair.b.columns = columns_.count();
    of_a.fill(pair.a);
    of_b.fill(pair.b);
    const std::vector<Index> here(begin, begin + chunk.count);
    for (std::size_t s = 0; s < shifts.size(); ++s) {
      pair.chunk = of_shift(chunk, s, columns_.count());
      visit(pair, here, static_cast<Index>(s));
    }
    begin += chunk.count;
  }
}

} // namespace concord::correlate::device
