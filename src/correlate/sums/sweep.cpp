#include "correlate/sums/sweep.hpp"

#include "concord/comm/collectives.hpp"
#include "concord/core/at.hpp"
#include "concord/core/machine/threads.hpp"

#include <limits>
#include <numeric>

namespace concord::correlate {
namespace {

/// The share of a block's features up to which those touched are listed: looking at a listed one costs several times as much as passing by
/// one of all in their order (measured).
constexpr double worth_listing = 0.2;

} // namespace

Sweep::Sweep(const comm::Communicator& comm, const comm::Communicator& column, int sharing, const ShareGrid& grid, const PairRows& rows,
             double memory, int threads)
    : PairSums(comm, grid, rows), column_(column), sharing_(sharing), memory_(memory), threads_(threads), scratch_(at(threads)) {
  entries_b_.push_back(0);
  for (const auto feature : names_b_) {
    counts_b_.push_back(rows.b.totals().count[at(feature)]);
    entries_b_.push_back(entries_b_.back() + counts_b_.back());
  }
}

/// All shifts of a feature one after another: its postings stay in cache.
std::vector<Sweep::Item> Sweep::items(std::size_t shifts, const std::vector<Wanted>* wanted) const {
  std::vector<Item> items;
  if (wanted == nullptr) items.reserve(shifts * at((dense_a_ + strip_a - 1) / strip_a + size_a() - dense_a_));
  const auto add = [&](Index first, Index features, Index places, bool dense) {
    for (std::size_t s = 0; s < shifts; ++s) {
      const auto begin = wanted == nullptr ? Wanted::const_iterator() : (*wanted)[s].begin() + first;
      if (wanted == nullptr || std::any_of(begin, begin + features, [](std::uint8_t w) { return w != 0; }))
        items.push_back({static_cast<std::int32_t>(first), static_cast<std::int16_t>(features), static_cast<std::int16_t>(places),
                         static_cast<std::int32_t>(s), dense});
    }
  };
  for (Index first = 0; first < dense_a_; first += strip_a) add(first, std::min(strip_a, dense_a_ - first), strip_a, true);
  for (Index j = size_a() - 1; j >= dense_a_; --j) add(j, 1, 1, false); // the rare ones first: their r are large, so bounds rise soon
  return items;
}

void Sweep::run(const std::vector<Index>& shifts, const Visit& visit, const std::vector<Wanted>* wanted) {
  if (rows_.whole_a)
    run_whole(items(shifts.size(), wanted), shifts, visit);
  else
    run_pieces(items(shifts.size(), wanted), shifts, visit);
}

void Sweep::add(const Item& item, const PostingShare& a, const RowShare& b, std::size_t block, Index shift, Accumulator* into, int thread,
                kernels::Touched* touched) {
  if (item.dense)
    kernels::add_dense(a, item.first / strip_a, b, block, shift, into, scratch_[at(thread)]);
  else
    kernels::add_sparse(a, item.first - dense_a_, b, block, shift, into, touched);
}

struct Sweep::Workplace {
  std::vector<Accumulator> sums; ///< zeros between features
  kernels::Touched touched;
};

/// Block after block, so that the sums of a block, and what is looked up beside them, stay in cache from feature to feature of A.
void Sweep::run_whole(const std::vector<Item>& items, const std::vector<Index>& shifts, const Visit& visit) {
  std::vector<Workplace> workplaces(at(threads_));
  const auto count = static_cast<Index>(items.size());
  const auto blocks = static_cast<Index>(rows_.whole_b->share.blocks.size());
  for_each_item(count * blocks, threads_, [&](int thread, Index i) {
    if (stop_.wanted_here()) return;
    const Item& item = items[at(i % count)];
    sum_block(item, at(i / count), shifts[at(item.shift)], thread, workplaces[at(thread)], visit);
  });
  stop_.throw_if_wanted(comm_, "correlate");
}

void Sweep::sum_block(const Item& item, std::size_t block, Index shift, int thread, Workplace& own, const Visit& visit) {
  const auto width = size_b();
  const auto& of = rows_.whole_b->share.blocks[block];
  const Index first = of.first;
  const Index last = of.last;
  const bool listing = few_touched(item, of);
  const Index scanned = listing ? of.sparse : last;
  own.sums.resize(std::max(own.sums.size(), at(item.places * width)), {0, 0});
  if (listing) own.touched.places.resize(std::max(own.touched.places.size(), at(last - first + 1)));
  own.touched.count = 0;
  add(item, rows_.whole_a->share, rows_.whole_b->share, block, shift, own.sums.data(), thread, listing ? &own.touched : nullptr);
  for (Index f = 0; f < item.features; ++f)
    visit(thread, item.first + f, static_cast<Index>(item.shift),
          {own.sums.data() + f * width, first, last, scanned, &own.touched.places, own.touched.count});
  for (Index place = 0; place < item.places; ++place)
    std::fill_n(own.sums.data() + place * width + first, scanned - first, Accumulator{0, 0});
  for (Index t = 0; t < own.touched.count; ++t) own.sums[at(own.touched.places[at(t)])] = {0, 0};
}

/// Whether a feature of A is, by their rates, active together with so few of a block's features of B that listing those pays.
bool Sweep::few_touched(const Item& item, const RowShare::Block& block) const {
  if (item.dense) return false;
  const auto& a = rows_.whole_a->share;
  const auto postings = static_cast<double>(a.begin[at(item.first - dense_a_) + 1] - a.begin[at(item.first - dense_a_)]);
  const double rate = postings / static_cast<double>(a.rows);
  // Those that the feature meets once or more often by their rates, and of the others, the rarer ones, the rows on which they meet.
  const auto rarer = std::partition_point(counts_b_.begin() + block.sparse, counts_b_.begin() + block.last,
                                          [&](Index count) { return static_cast<double>(count) * rate >= 1; });
  const Index often = rarer - counts_b_.begin() - block.sparse;
  const Index entries = entries_b_[at(block.last)] - entries_b_[at(block.sparse + often)];
  return static_cast<double>(often) + static_cast<double>(entries) * rate < worth_listing * static_cast<double>(block.last - block.sparse);
}

/// Half of the memory is for a piece of A's rows and one of B's, half for sums.
Index Sweep::rows_a_piece() const {
  const Index rows = rows_.a.rows();
  const RowEntries entries = row_entries(rows_, grid_);
  const auto blocks = static_cast<double>(rows_.deal_b.block_ends(grid_.column(comm_.rank())).size());
  const double bytes_a = 24 * entries.a + 4.0 * static_cast<double>(dense_a_ + strip_a);
  const double bytes_b = (10 * blocks + 6 * entries.b + 4.0 * static_cast<double>(dense_b_ + strip_b)) / sharing_;
  const auto fitting = std::clamp<Index>(static_cast<Index>(memory_ / 2 / (bytes_a + bytes_b)), 1, rows);
  return rows - comm::max_of(comm_, rows - fitting);
}

struct Sweep::PieceSums {
  std::span<const Item> items;
  std::vector<std::size_t> place_of; ///< of each item
  std::size_t places, width;
  Accumulator* sums; ///< [place, width]
  Accumulator* of(std::size_t item) const { return sums + place_of[item] * width; }
};

void Sweep::add_pieces(const PieceSums& sums, Index piece, const std::vector<Index>& shifts, RowPieces& pieces_of_b) {
  const Index rows = rows_.a.rows();
  for (Index first = 0; first < rows; first += piece) {
    const Index last = std::min(rows, first + piece);
    const auto a = load_postings(comm_, grid_, rows_.a, rows_.deal_a, first, last, &stop_);
    if (!have_moments_) moments_a_.add(a);
    for (std::size_t s = 0; s < shifts.size(); ++s) {
      const auto& b = pieces_of_b.load({first + shifts[s], last + shifts[s]});
      if (!have_moments_ && s == 0) moments_b_.add(b);
      for_each_item(static_cast<Index>(sums.items.size()), threads_, [&](int thread, Index i) {
        if (at(sums.items[at(i)].shift) != s || stop_.wanted_here()) return;
        for (std::size_t block = 0; block < b.blocks.size(); ++block) add(sums.items[at(i)], a, b, block, 0, sums.of(at(i)), thread);
      });
      stop_.throw_if_wanted(comm_, "correlate");
    }
  }
  if (have_moments_) return;
  moments_a_.finish(rows);
  moments_b_.finish(rows);
  have_moments_ = true;
}

/// As many features of A as fit are added up in one pass over all pieces, and if not all do, there is another pass.
void Sweep::run_pieces(const std::vector<Item>& items, const std::vector<Index>& shifts, const Visit& visit) {
  const auto width = names_b_.size();
  const Index piece = rows_a_piece();
  RowPieces pieces_of_b(comm_, column_, grid_, rows_.b, rows_.deal_b, piece_ranges(rows_.a.rows(), piece, shifts), &stop_);
  const double place_bytes = std::max(1.0, sizeof(Accumulator) * static_cast<double>(width));
  const auto places = std::max<Index>(strip_a, static_cast<Index>(memory_ / 2 / place_bytes));

  std::size_t begin = 0;
  // The ranks may need different numbers of passes, but pass together.
  while (comm::max_of(comm_, Index{begin < items.size() || !have_moments_}) > 0) {
    PieceSums here{{}, {}, 0, width, nullptr};
    std::size_t end = begin;
    for (; end < items.size() && static_cast<Index>(here.places) + items[end].places <= places; ++end) {
      here.place_of.push_back(here.places);
      here.places += at(items[end].places);
    }
    here.items = std::span(items).subspan(begin, end - begin);
    std::vector<Accumulator> sums(here.places * width, Accumulator{0, 0});
    here.sums = sums.data();
    add_pieces(here, piece, shifts, pieces_of_b);
    for_each_item(static_cast<Index>(end - begin), threads_, [&](int thread, Index i) {
      const Item& item = here.items[at(i)];
      for (Index f = 0; f < item.features; ++f)
        visit(thread, item.first + f, static_cast<Index>(item.shift),
              {here.of(at(i)) + at(f) * width, 0, static_cast<Index>(width), static_cast<Index>(width)});
    });
    begin = end;
  }
}

} // namespace concord::correlate
