#pragma once
/// The kernels of the correlation for GPUs, written for warps (core/warp.hpp): sums of features of A with B's share, and what is looked for
/// in them. Local.
///
/// A warp adds up one feature of A with a block of B's features, whose sums lie in shared memory, in row order in float64: every sum has
/// the bits that the CPU's kernels give it (kernels.hpp). Sums of a chunk of A's features lie in the device's memory until they have been
/// looked through; of most pairs there is nothing, which a bit says, so that they are neither written nor read.

#include "correlate/device/device_views.hpp"

namespace concord::correlate::device {

// --- adding -----------------------------------------------------------------------------------------------------------------------------

/// Up to 32 rows on which a feature of A is active, a lane each.
template <typename Warp>
struct Rows {
  typename Warp::template Lanes<Index> row; ///< of B
  typename Warp::template Lanes<double> value;
  typename Warp::template Lanes<int> active; ///< 0: a dense feature is, less its pilot, on rows where it does not fire
};

CONCORD_DEVICE Index postings(const PostingsView& a, Index feature) {
  return feature < a.dense ? a.rows : a.begin[feature - a.dense + 1] - a.begin[feature - a.dense];
}

/// Posting `p` of a feature: its row of A, value and whether it is active.
CONCORD_DEVICE void read_posting(const PostingsView& a, Index feature, Index p, Index& row, double& value, int& active) {
  constexpr Index width = PostingsView::strip;
  if (feature < a.dense) {
    const float x = a.strips[(feature / width * a.rows + p) * width + feature % width];
    row = p;
    value = static_cast<double>(x) - a.pilots[feature];
    active = x != 0.0F ? 1 : 0;
  } else {
    const Posting posting = a.postings[a.begin[feature - a.dense] + p];
    row = posting.row;
    value = static_cast<double>(posting.value);
    active = 1;
  }
}

/// Postings [first, first + 32) of a feature, and the rows of B beside them.
template <typename Warp>
CONCORD_DEVICE void read_rows(const Warp& warp, const PairView& pair, Index feature, Index first, Index count, Index shift,
                              Rows<Warp>& rows) {
  warp.each_alone([&](int lane) {
    rows.row[lane] = -1;
    rows.value[lane] = 0;
    rows.active[lane] = 0;
    if (first + lane >= count) return;
    read_posting(pair.a, feature, first + lane, rows.row[lane], rows.value[lane], rows.active[lane]);
    rows.row[lane] += shift;
    if (rows.row[lane] >= pair.b.rows) rows.row[lane] -= pair.b.rows;
  });
}

/// Entries of a block's rows that are on their way at once.
inline constexpr int ahead = 8;

/// Adds a block's rows for up to 32 postings to sums in shared memory, posting after posting.
template <typename Warp>
CONCORD_DEVICE void add_rows(const Warp& warp, const BlockView& block, const Rows<Warp>& rows, double* sums, std::uint32_t* cofire) {
  typename Warp::template Lanes<Index> begin;
  typename Warp::template Lanes<int> length;
  warp.each_alone([&](int lane) {
    const Index row = rows.row[lane];
    begin[lane] = row < 0 ? 0 : block.begin[row];
    length[lane] = row < 0 ? 0 : static_cast<int>(block.begin[row + 1] - begin[lane]);
  });
  struct Ahead {
    RowEntry of[ahead];
  };
  typename Warp::template Lanes<Ahead> entries;
  for (int group = 0; group < warp_lanes; group += ahead) {
#pragma unroll
    for (int i = 0; i < ahead; ++i) {
      const Index from = warp.from(begin, group + i);
      const int count = warp.from(length, group + i);
      warp.each_alone([&](int lane) {
        if (lane < count) entries[lane].of[i] = block.entries[from + lane];
      });
    }
#pragma unroll
    for (int i = 0; i < ahead; ++i) {
      const Index from = warp.from(begin, group + i);
      const int count = warp.from(length, group + i);
      const double value = warp.from(rows.value, group + i);
      const int active = warp.from(rows.active, group + i);
      const auto add = [&](const RowEntry& entry) {
        sums[entry.place] = fma(value, static_cast<double>(entry.value), sums[entry.place]);
        cofire[entry.place] += static_cast<std::uint32_t>(active);
      };
      if (count == 0) continue;
      warp.each([&](int lane) {
        if (lane < count) add(entries[lane].of[i]);
      });
      for (int further = warp_lanes; further < count; further += warp_lanes)
        warp.each([&](int lane) {
          if (further + lane < count) add(block.entries[from + further + lane]);
        });
    }
  }
}

/// Whether something is stored of a column for feature `i` of the chunk.
CONCORD_DEVICE bool is_stored(const Chunk& chunk, Index columns, Index i, Index column) {
  return (chunk.stored[i * (columns / warp_lanes) + column / warp_lanes] >> (column % warp_lanes) & 1U) != 0;
}

template <typename Warp>
CONCORD_DEVICE void run(const Warp& warp, const AddBlocks& kernel, Index item, std::byte* shared) {
  const PairView& pair = kernel.pair;
  const Index i = item / pair.b.block_count;
  const BlockView block = pair.b.blocks[item % pair.b.block_count];
  auto* sums = reinterpret_cast<double*>(shared);
  auto* cofire = reinterpret_cast<std::uint32_t*>(sums + pair.b.widest);
  Accumulator* into = pair.chunk.sums + i * pair.b.columns + block.column;
  warp.each([&](int lane) {
    for (Index j = lane; j < block.size; j += warp_lanes) {
      const bool stored = !kernel.fresh && is_stored(pair.chunk, pair.b.columns, i, block.column + j);
      sums[j] = stored ? into[j].sum : 0.0;
      cofire[j] = stored ? static_cast<std::uint32_t>(into[j].cofire) : 0;
    }
  });
  const Index feature = pair.chunk.features[i];
  const Index count = postings(pair.a, feature);
  Rows<Warp> rows;
  for (Index first = 0; first < count; first += warp_lanes) {
    read_rows(warp, pair, feature, first, count, kernel.shift, rows);
    add_rows(warp, block, rows, sums, cofire);
  }
  std::uint32_t* bits = pair.chunk.stored + (i * pair.b.columns + block.column) / warp_lanes;
  for (Index first = 0; first < block.size; first += warp_lanes) {
    const std::uint32_t some = warp.ballot([&](int lane) {
      const Index j = first + lane;
      return j < block.size && (cofire[j] != 0 || sums[j] != 0.0);
    });
    warp.each([&](int lane) {
      const Index j = first + lane;
      if ((some >> lane & 1U) != 0) into[j] = {sums[j], static_cast<double>(cofire[j])};
      if (lane == 0) bits[first / warp_lanes] = some;
    });
  }
}

/// A lane for each of 32 dense features of B, whose sum stays in a register.
template <typename Warp>
CONCORD_DEVICE void run(const Warp& warp, const AddStrips& kernel, Index item, std::byte* /*shared*/) {
  constexpr Index width = RowsView::strip;
  const PairView& pair = kernel.pair;
  const Index groups = (pair.b.dense + warp_lanes - 1) / warp_lanes;
  const Index i = item / groups;
  const Index column = item % groups * warp_lanes;
  Accumulator* into = pair.chunk.sums + i * pair.b.columns + column;
  typename Warp::template Lanes<double> sum, cofire, pilot;
  typename Warp::template Lanes<const float*> strip; ///< none: no feature has this lane
  warp.each_alone([&](int lane) {
    const Index j = column + lane;
    const bool stored = !kernel.fresh && j < pair.b.dense && is_stored(pair.chunk, pair.b.columns, i, j);
    sum[lane] = stored ? into[lane].sum : 0.0;
    cofire[lane] = stored ? into[lane].cofire : 0.0;
    strip[lane] = j < pair.b.dense ? pair.b.strips + j / width * pair.b.rows * width + j % width : nullptr;
    pilot[lane] = j < pair.b.dense ? pair.b.pilots[j] : 0.0;
  });
  const Index feature = pair.chunk.features[i];
  const Index count = postings(pair.a, feature);
  Rows<Warp> rows;
  for (Index first = 0; first < count; first += warp_lanes) {
    read_rows(warp, pair, feature, first, count, kernel.shift, rows);
    const int here = static_cast<int>(count - first < warp_lanes ? count - first : warp_lanes);
#pragma unroll 8
    for (int p = 0; p < here; ++p) {
      const Index row = warp.from(rows.row, p);
      const double value = warp.from(rows.value, p);
      const int active = warp.from(rows.active, p);
      warp.each_alone([&](int lane) {
        if (strip[lane] == nullptr) return;
        const float x = strip[lane][row * width];
        sum[lane] = fma(value, static_cast<double>(x) - pilot[lane], sum[lane]);
        cofire[lane] += active != 0 && x != 0.0F ? 1.0 : 0.0;
      });
    }
  }
  const std::uint32_t some = warp.ballot([&](int lane) { return strip[lane] != nullptr; });
  warp.each([&](int lane) {
    if (strip[lane] != nullptr) into[lane] = {sum[lane], cofire[lane]};
    if (lane == 0) pair.chunk.stored[(i * pair.b.columns + column) / warp_lanes] = some;
  });
}

// --- looking through the sums -----------------------------------------------------------------------------------------------------------

/// r of a feature of A with 32 columns; minus infinity or NaN where that is no candidate.
template <typename Warp>
struct Candidates {
  typename Warp::template Lanes<double> r;
  typename Warp::template Lanes<std::int32_t> cofire;
};

template <typename Warp>
CONCORD_DEVICE void read_candidates(const Warp& warp, const PairView& pair, Index i, Index column, std::uint32_t stored,
                                    Candidates<Warp>& of) {
  const Index feature = pair.chunk.features[i];
  const auto n = static_cast<double>(pair.a.rows);
  const double sum = pair.a.sum[feature];
  const double inverse = pair.a.inverse[feature];
  warp.each_alone([&](int lane) {
    of.r[lane] = no_r;
    of.cofire[lane] = 0;
    if ((stored >> lane & 1U) == 0) return;
    const Accumulator sums = pair.chunk.sums[i * pair.b.columns + column + lane];
    if (!(sums.cofire > 0)) return;
    const double r = pearson(n, sums.sum, sum, inverse, pair.b.sum[column + lane], pair.b.inverse[column + lane]);
    of.r[lane] = r > 1.0 ? 1.0 : (r < -1.0 ? -1.0 : r);
    of.cofire[lane] = static_cast<std::int32_t>(sums.cofire);
  });
}

/// The bits of 32 columns of a row of the chunk.
CONCORD_DEVICE std::uint32_t stored_bits(const PairView& pair, Index i, Index column) {
  return pair.chunk.stored[(i * pair.b.columns + column) / warp_lanes];
}

template <typename Warp>
CONCORD_DEVICE void copy(const Warp& warp, const Partner* from, Partner* to, Index count) {
  warp.each([&](int lane) {
    for (Index p = lane; p < count; p += warp_lanes) to[p] = from[p];
  });
}

template <typename Warp>
CONCORD_DEVICE void run(const Warp& warp, const BestOfRows& kernel, Index i, std::byte* shared) {
  const PairView& pair = kernel.pair;
  auto* list = reinterpret_cast<Partner*>(shared);
  warp.each([&](int lane) {
    for (Index p = lane; p < kernel.places; p += warp_lanes) list[p] = {no_r, no_feature, 0};
  });
  Candidates<Warp> of;
  for (Index column = 0; column < pair.b.columns; column += warp_lanes) {
    const std::uint32_t stored = stored_bits(pair, i, column);
    if (stored == 0) continue;
    read_candidates(warp, pair, i, column, stored, of);
    const double floor = list[kernel.places - 1].r;
    std::uint32_t hits = warp.ballot([&](int lane) { return of.cofire[lane] > 0 && of.r[lane] >= floor; });
    for (; hits != 0; hits &= hits - 1) {
      const int lane = first_bit(hits);
      insert(warp, list, kernel.places, {warp.from(of.r, lane), pair.b.names[column + lane], warp.from(of.cofire, lane)});
    }
  }
  copy(warp, list, kernel.best + i * kernel.places, kernel.places);
}

template <typename Warp>
CONCORD_DEVICE void run(const Warp& warp, const BestOfColumns& kernel, Index item, std::byte* shared) {
  const PairView& pair = kernel.pair;
  const Index column = item * warp_lanes;
  const Index places = kernel.places;
  auto* lists = reinterpret_cast<Partner*>(shared);
  copy(warp, kernel.best + column * places, lists, warp_lanes * places);
  typename Warp::template Lanes<std::uint32_t> stored; ///< of 32 rows of the chunk
  Candidates<Warp> of;
  for (Index first = 0; first < pair.chunk.count; first += warp_lanes) {
    warp.each_alone([&](int lane) { stored[lane] = first + lane < pair.chunk.count ? stored_bits(pair, first + lane, column) : 0; });
    std::uint32_t rows = warp.ballot([&](int lane) { return stored[lane] != 0; });
    for (; rows != 0; rows &= rows - 1) {
      const Index i = first + first_bit(rows);
      read_candidates(warp, pair, i, column, warp.from(stored, first_bit(rows)), of);
      std::uint32_t hits = warp.ballot([&](int lane) { return of.cofire[lane] > 0 && of.r[lane] >= lists[lane * places + places - 1].r; });
      for (; hits != 0; hits &= hits - 1) {
        const int lane = first_bit(hits);
        insert(warp, lists + lane * places, places,
               {warp.from(of.r, lane), pair.a.names[pair.chunk.features[i]], warp.from(of.cofire, lane)});
      }
    }
  }
  copy(warp, lists, kernel.best + column * places, warp_lanes * places);
}

template <typename Warp>
CONCORD_DEVICE void run(const Warp& warp, const FindExceeding& kernel, Index i, std::byte* /*shared*/) {
  const PairView& pair = kernel.pair;
  const Index feature = pair.chunk.features[i];
  const double limit = kernel.limit_a[feature];
  Candidates<Warp> of;
  for (Index column = 0; column < pair.b.columns; column += warp_lanes) {
    const std::uint32_t stored = stored_bits(pair, i, column);
    if (stored == 0) continue;
    read_candidates(warp, pair, i, column, stored, of);
    const std::uint32_t hits =
        warp.ballot([&](int lane) { return of.cofire[lane] > 0 && of.r[lane] > limit + kernel.limit_b[column + lane]; });
    if (hits == 0) continue;
    const std::uint64_t place = warp.take(kernel.count, count_bits(hits));
    if (kernel.found == nullptr) continue;
    warp.each([&](int lane) {
      if ((hits >> lane & 1U) != 0)
        kernel.found[place + static_cast<std::uint64_t>(count_bits(hits & ((1U << lane) - 1)))] = {
            pair.a.names[feature], pair.b.names[column + lane], of.r[lane], of.cofire[lane]};
    });
  }
}

} // namespace concord::correlate::device
