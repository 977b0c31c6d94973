#include "correlate/sums/kernels.hpp"

#include "concord/core/at.hpp"

#include <array>
#include <bit>
#include <cstring>
#include <span>

#ifdef __SSE2__
#include <immintrin.h>
#endif

#pragma GCC diagnostic ignored "-Wpsabi" // how vectors are passed differs by machine; here none leaves the file

namespace concord::correlate::kernels {
namespace {

/// Doubles of a register. GCC splits vectors that are wider than the machine's.
#ifdef __AVX512F__
constexpr Index lanes = 8;
#else
constexpr Index lanes = 4;
#endif

template <int width>
using Doubles [[gnu::vector_size(width * sizeof(double))]] = double;
template <int width>
using Floats [[gnu::vector_size(width * sizeof(float))]] = float;
template <int width>
using Counts [[gnu::vector_size(width * sizeof(Index))]] = Index;

template <int width>
Doubles<width> widened(const float* values) {
  Floats<width> x;
  std::memcpy(&x, values, sizeof x);
  return __builtin_convertvector(x, Doubles<width>);
}

template <int width>
Doubles<width> loaded(const double* values) {
  Doubles<width> x;
  std::memcpy(&x, values, sizeof x);
  return x;
}

/// Most rows of a block are a line or two long: those are fetched without a guess at how many they are. `level` as __builtin_prefetch has
/// it: 3 is the nearest cache, 2 the next.
template <int level>
void fetch(const BlockRow& row) {
  const auto* line = reinterpret_cast<const char*>(row.values);
  const auto* end = reinterpret_cast<const char*>(row.values + BlockRow::words(row.count));
  __builtin_prefetch(line, 0, level);
  __builtin_prefetch(line + 64, 0, level);
  for (line += 128; line < end; line += 64) __builtin_prefetch(line, 0, level);
}

/// Postings ahead of which entries are fetched: the rows of B lie scattered, and waiting for them is all that costs.
constexpr Index ahead = 14;

/// Rows of B beside postings in their order. Where a row lies is read some postings before it is fetched, and fetched into cache before
/// that: a prefetch whose address is itself on its way from memory helps little. Rows are fetched into the second cache first, since the
/// nearest one can only wait for a few lines at once (docs/performance.md).
class RowsAhead {
public:
  RowsAhead(std::span<const Posting> postings, const RowShare::Block& b, Index shift)
      : postings_(postings.data()), count_(static_cast<Index>(postings.size())), shift_(shift), b_(b) {
    for (Index p = 0; p < std::min(count_, places_ahead); ++p) __builtin_prefetch(place(p));
    for (Index p = 0; p < std::min(count_, known_ahead); ++p) look_up(p);
    for (Index p = 0; p < std::min(count_, ahead); ++p) fetch<2>(known_[at(p)]);
  }
  /// Of posting p; called for one after another.
  BlockRow row(Index p) {
    if (p + places_ahead < count_) __builtin_prefetch(place(p + places_ahead));
    if (p + known_ahead < count_) look_up(p + known_ahead);
    if (p + ahead < count_) fetch<2>(known_[at((p + ahead) % known)]);
    if (p + near < count_) fetch<3>(known_[at((p + near) % known)]);
    return known_[at(p % known)];
  }

private:
  static constexpr Index near = 2, known_ahead = 20, places_ahead = 30, known = 32;
  const Index* place(Index p) const { return b_.begin.data() + (postings_[p].row + shift_); }
  void look_up(Index p) { known_[at(p % known)] = b_.row(postings_[p].row + shift_); }
  const Posting* postings_;
  Index count_;
  Index shift_;
  RowShare::Block b_;
  std::array<BlockRow, known> known_;
};

/// Adds value * row of B for each posting.
template <bool noting>
void scatter(std::span<const Posting> postings, const RowShare::Block& b, Index shift, Accumulator* into, Touched* touched) {
  RowsAhead ahead_of(postings, b, shift);
  const auto sparse = static_cast<std::int32_t>(b.sparse);
  std::int32_t* noted = noting ? touched->places.data() + touched->count : nullptr;
  into += b.sparse;
  for (std::size_t p = 0; p < postings.size(); ++p) {
    const BlockRow row = ahead_of.row(static_cast<Index>(p));
    const float* value = row.values;
    const float* last = value + row.count;
    const std::uint16_t* place = row.places();
#ifdef __SSE2__
    const __m128d factor = _mm_set_pd(1.0, postings[p].value);
    const __m128d ones = _mm_set1_pd(1.0);
    for (; value != last; ++value, ++place) { // {b, 1} in one conversion
      double* sums = &into[*place].sum;
      if (noting) {
        *noted = sparse + *place;
        noted += std::bit_cast<std::uint64_t>(sums[1]) == 0 ? 1 : 0;
      }
      _mm_store_pd(sums, _mm_add_pd(_mm_load_pd(sums), _mm_mul_pd(factor, _mm_cvtss_sd(ones, _mm_load_ss(value)))));
    }
#else
    for (; value != last; ++value, ++place) {
      Accumulator& sums = into[*place];
      if (noting) {
        *noted = sparse + *place;
        noted += sums.cofire == 0 ? 1 : 0;
      }
      sums.sum += static_cast<double>(postings[p].value) * static_cast<double>(*value);
      sums.cofire += 1;
    }
#endif
  }
  if (noting) touched->count = noted - touched->places.data();
}

/// Strips of B that the postings are taken to at once: their sums stay in registers, and their lines are fetched side by side.
constexpr Index strips_at_once = 3;

/// `count` strips of B from `first` on for the postings.
template <Index strips>
void scatter_dense(std::span<const Posting> postings, const RowShare& b, Index first, Index shift, Accumulator* into) {
  constexpr Index parts = strips * strip_b / lanes;
  constexpr Index halves = strip_b / lanes;
  std::array<Doubles<lanes>, parts> sum{}, pilots{};
  std::array<Counts<lanes>, parts> cofire{};
  const Index features = std::min(strips * strip_b, b.dense - first * strip_b);
  for (Index w = 0; w < features; ++w) sum[at(w / lanes)][w % lanes] = into[w].sum;
  for (Index h = 0; h < parts; ++h) pilots[at(h)] = loaded<lanes>(b.pilots.data() + first * strip_b + h * lanes);
  for (std::size_t p = 0; p < postings.size(); ++p) {
    if (p + 2 * ahead < postings.size())
      for (Index s = 0; s < strips; ++s) __builtin_prefetch(b.strips.at(first + s, postings[p + 2 * ahead].row + shift));
    const auto value = static_cast<double>(postings[p].value);
    for (Index h = 0; h < parts; ++h) {
      const auto x = widened<lanes>(b.strips.at(first + h / halves, postings[p].row + shift) + h % halves * lanes);
      sum[at(h)] += value * (x - pilots[at(h)]);
      cofire[at(h)] -= x != 0.0;
    }
  }
  for (Index w = 0; w < features; ++w) {
    into[w].sum = sum[at(w / lanes)][w % lanes];
    into[w].cofire += static_cast<double>(cofire[at(w / lanes)][w % lanes]);
  }
}

/// All strips of B for the postings.
void scatter_strips(std::span<const Posting> postings, const RowShare& b, Index shift, Accumulator* into) {
  static_assert(strips_at_once == 3);
  for (Index first = 0; first < b.strips.count(); first += strips_at_once) {
    Accumulator* of_strip = into + first * strip_b;
    const Index left = b.strips.count() - first;
    if (left >= 3)
      scatter_dense<3>(postings, b, first, shift, of_strip);
    else if (left == 2)
      scatter_dense<2>(postings, b, first, shift, of_strip);
    else
      scatter_dense<1>(postings, b, first, shift, of_strip);
  }
}

/// Runs of A's rows [begin, end) beside B's rows from begin + shift on, none of which passes the end of B.
struct Run {
  Index begin, end, shift;
};

std::array<Run, 2> runs(Index rows, Index rows_b, Index shift) {
  const Index first = std::min(rows, rows_b - shift);
  return {{{0, first, shift}, {first, rows, shift - rows_b}}};
}

/// Four features of A against one strip of B, over a run of rows, in registers.
void add_tile(const PostingShare& a, Index strip_of_a, const RowShare& b, Index strip, const Run& run, Index features, Accumulator* into) {
  constexpr Index halves = strip_b / lanes;
  std::array<std::array<Doubles<lanes>, halves>, strip_a> sum{};
  std::array<std::array<Counts<lanes>, halves>, strip_a> cofire{};
  std::array<Doubles<lanes>, halves> pilots{};
  for (Index i = 0; i < strip_a; ++i)
    for (Index w = 0; w < features; ++w) sum[at(i)][at(w / lanes)][w % lanes] = into[i * b.size() + w].sum;
  for (Index h = 0; h < halves; ++h) pilots[at(h)] = loaded<lanes>(b.pilots.data() + strip * strip_b + h * lanes);
  const double* pilots_a = a.pilots.data() + strip_of_a * strip_a;
  for (Index t = run.begin; t < run.end; ++t) {
    const float* of_a = a.strips.at(strip_of_a, t);
    const float* of_b = b.strips.at(strip, t + run.shift);
    for (Index h = 0; h < halves; ++h) {
      const auto x = widened<lanes>(of_b + h * lanes);
      const auto y = x - pilots[at(h)];
      const Counts<lanes> active = x != 0.0;
      for (Index i = 0; i < strip_a; ++i) {
        sum[at(i)][at(h)] += (static_cast<double>(of_a[i]) - pilots_a[i]) * y;
        cofire[at(i)][at(h)] -= active & Index{of_a[i] != 0 ? -1 : 0};
      }
    }
  }
  for (Index i = 0; i < strip_a; ++i)
    for (Index w = 0; w < features; ++w) {
      into[i * b.size() + w].sum = sum[at(i)][at(w / lanes)][w % lanes];
      into[i * b.size() + w].cofire += static_cast<double>(cofire[at(i)][at(w / lanes)][w % lanes]);
    }
}

/// Four features of A against a block's sparse ones: an entry of B serves all four. `into`: of each sparse feature four sums and four
/// counts.
void scatter_strip(const PostingShare& a, Index strip, const RowShare::Block& b, const Run& run, double* into) {
  const auto pilots = loaded<strip_a>(a.pilots.data() + strip * strip_a);
  for (Index t = run.begin; t < run.end; ++t) {
    const auto x = widened<strip_a>(a.strips.at(strip, t));
    const auto y = x - pilots;
    const auto active = __builtin_convertvector(-(x != 0.0), Doubles<strip_a>);
    const BlockRow row = b.row(t + run.shift);
    const std::uint16_t* place = row.places();
    for (const float* value = row.values; value != row.values + row.count; ++value, ++place) {
      double* sums = into + 2 * strip_a * *place;
      auto sum = loaded<strip_a>(sums);
      auto cofire = loaded<strip_a>(sums + strip_a);
      sum += static_cast<double>(*value) * y;
      cofire += active;
      std::memcpy(sums, &sum, sizeof sum);
      std::memcpy(sums + strip_a, &cofire, sizeof cofire);
    }
  }
}

Index features_of_strip(const RowShare& b, Index strip) {
  return std::min(strip_b, b.dense - strip * strip_b);
}

} // namespace

void add_sparse(const PostingShare& a, Index feature, const RowShare& b, std::size_t block, Index shift, Accumulator* into,
                Touched* touched) {
  const auto* first = a.postings.data() + a.begin[at(feature)];
  const auto* last = a.postings.data() + a.begin[at(feature) + 1];
  const auto in_front = [](const Posting& posting, Index row) { return posting.row < row; };
  const auto* wrapped = shift == 0 ? last : std::lower_bound(first, last, b.rows - shift, in_front);
  const auto add = [&](const Posting* begin, const Posting* end, Index by) {
    if (begin == end) return;
    if (block == 0) scatter_strips({begin, end}, b, by, into);
    if (touched != nullptr)
      scatter<true>({begin, end}, b.blocks[block], by, into, touched);
    else
      scatter<false>({begin, end}, b.blocks[block], by, into, nullptr);
  };
  add(first, wrapped, shift);
  add(wrapped, last, shift - b.rows);
}

void add_dense(const PostingShare& a, Index strip, const RowShare& b, std::size_t block, Index shift, Accumulator* into,
               StripScratch& scratch) {
  const RowShare::Block& of = b.blocks[block];
  const Index sparse = of.last - of.sparse;
  scratch.values.resize(at(2 * strip_a * sparse));
  for (Index j = 0; j < sparse; ++j)
    for (Index i = 0; i < strip_a; ++i) {
      const Accumulator& sums = into[i * b.size() + of.sparse + j];
      scratch.values[at(2 * strip_a * j + i)] = sums.sum;
      scratch.values[at(2 * strip_a * j + strip_a + i)] = sums.cofire;
    }
  for (const Run& run : runs(a.rows, b.rows, shift)) {
    if (block == 0)
      for (Index s = 0; s < b.strips.count(); ++s) add_tile(a, strip, b, s, run, features_of_strip(b, s), into + s * strip_b);
    scatter_strip(a, strip, of, run, scratch.values.data());
  }
  for (Index j = 0; j < sparse; ++j)
    for (Index i = 0; i < strip_a; ++i)
      into[i * b.size() + of.sparse + j] = {scratch.values[at(2 * strip_a * j + i)], scratch.values[at(2 * strip_a * j + strip_a + i)]};
}

} // namespace concord::correlate::kernels
