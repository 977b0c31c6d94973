#pragma once
/// What RSA's correlations are made of: exact sums, ranks by histograms of keys, products of tiles, and permuted sums. Local where it does
/// not say Collective.

#include "concord/comm/collectives.hpp"
#include "concord/core/at.hpp"
#include "concord/similarity/rsa/rsa.hpp"

#include "similarity/rsa/rdm_tiles.hpp"
#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

namespace concord::similarity {

__extension__ typedef __int128 Int128;

inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Exact sums over all ranks.
inline std::vector<Int128> exact_sum(const comm::Communicator& comm, const std::vector<Int128>& mine) {
  const auto all = comm::all_gather(comm, mine);
  std::vector<Int128> sum(mine.size(), 0);
  for (std::size_t i = 0; i < all.size(); ++i) sum[i % mine.size()] += all[i];
  return sum;
}

inline long double real(Int128 value) {
  return static_cast<long double>(value);
}

/// What is known of one side's ranks from the histogram of its keys.
struct Ranks {
  std::vector<Index> table; ///< of each key: twice its average rank, less twice the mean rank
  Int128 squares = 0;       ///< sum over entries of squares of these
  double ties = 0;          ///< sum of (t^3 - t) / (n^3 - n)
};

inline Ranks ranks_of(const std::vector<Index>& histogram, Index entries) {
  Ranks ranks;
  ranks.table.resize(histogram.size());
  const auto n = static_cast<double>(entries);
  Index below = 0;
  for (std::size_t key = 0; key < histogram.size(); ++key) {
    const Index count = histogram[key];
    const Index rank = ranks.table[key] = 2 * below + count - entries;
    below += count;
    ranks.squares += Int128{count} * rank * rank;
    const auto t = static_cast<double>(count);
    ranks.ties += (t * t * t - t) / (n * n * n - n);
  }
  return ranks;
}

/// Rows that are looked at in place of all of them, ascending; the same whatever the seed of a study.
inline std::vector<Index> some_rows(Index m, Index most, const char* purpose) {
  std::vector<Index> rows = shuffled(m, Philox(0, purpose));
  rows.resize(at(std::min(m, most)));
  std::sort(rows.begin(), rows.end());
  return rows;
}

constexpr Index sampled_rows = 256; ///< whose entries say how keys are given out where there are more than whole_rows

/// Dissimilarities by which keys are given out, as rank 0 sees them. Collective.
inline std::vector<double> sample_of(const comm::Communicator& comm, const Rdm& rdm) {
  std::vector<double> sample;
  if (comm.rank() == 0) {
    const auto rows = some_rows(rdm.rows(), rdm.rows() <= whole_rows ? whole_rows : sampled_rows, "rdm sample");
    const auto n = static_cast<Index>(rows.size());
    const auto all = rdm.among(rows);
    for (Index i = 0; i < n; ++i) sample.insert(sample.end(), all.begin() + i * n + i + 1, all.begin() + (i + 1) * n);
  }
  comm::broadcast(comm, sample);
  return sample;
}

/// With wider keys where 2^bits would tie more than moves rho by 1e-6. Collective.
inline KeyMap key_map_of(const comm::Communicator& comm, const Rdm& rdm, int bits) {
  constexpr double few_ties = 1e-6;
  const auto sample = sample_of(comm, rdm);
  const bool complete = rdm.rows() <= whole_rows;
  KeyMap map(sample, complete, bits);
  return map.lost() <= few_ties ? map : KeyMap(sample, complete, most_bits);
}

inline std::string reason_of(const KeyMap& map, const char* name) {
  constexpr double too_many_ties = 1e-3;
  if (!map.reason().empty()) return fmt::format("{} of {}: rows are too much alike for float64", map.reason(), name);
  if (map.lost() <= too_many_ties) return "";
  return fmt::format("dissimilarities of {} crowd about several values: 2^{} keys do not tell them apart", name, most_bits);
}

/// Writes value(entry) to both places of each entry of a tile.
template <typename Value>
void fill_table(std::vector<float>& table, Index m, const Tile& tile, const Value& value) {
  for (Index i = 0; i < tile.ni; ++i)
    for (Index j = tile.first(i); j < tile.nj; ++j)
      table[at((tile.i0 + i) * m + tile.j0 + j)] = table[at((tile.j0 + j) * m + tile.i0 + i)] = static_cast<float>(value(i * tile.nj + j));
}

/// Sums of products, and over the other items of each item, of two sides' whole numbers.
struct ProductSums {
  explicit ProductSums(Index m) : rows_x(at(m), 0), rows_y(at(m), 0) {}
  Int128 xy = 0, xx = 0, yy = 0;
  std::vector<Index> rows_x, rows_y;

  /// x(entry) and y(entry) over the entries of a tile. What is the same for all of a row's is summed there first.
  template <typename X, typename Y>
  void add(const Tile& tile, const X& x, const Y& y) {
    for (Index i = 0; i < tile.ni; ++i) {
      Index row_x = 0;
      Index row_y = 0;
      for (Index j = tile.first(i); j < tile.nj; ++j) {
        const Index of_x = x(i * tile.nj + j);
        const Index of_y = y(i * tile.nj + j);
        xy += Int128{of_x} * of_y;
        xx += Int128{of_x} * of_x;
        yy += Int128{of_y} * of_y;
        row_x += of_x;
        row_y += of_y;
        rows_x[at(tile.j0 + j)] += of_x;
        rows_y[at(tile.j0 + j)] += of_y;
      }
      rows_x[at(tile.i0 + i)] += row_x;
      rows_y[at(tile.i0 + i)] += row_y;
    }
  }
  void add(const ProductSums& other) {
    xy += other.xy;
    xx += other.xx;
    yy += other.yy;
    for (std::size_t i = 0; i < rows_x.size(); ++i) {
      rows_x[i] += other.rows_x[i];
      rows_y[i] += other.rows_y[i];
    }
  }
  void add_ranks(const comm::Communicator& comm) {
    comm::sum(comm, rows_x);
    comm::sum(comm, rows_y);
    const auto all = exact_sum(comm, {xy, xx, yy});
    xy = all[0];
    xx = all[1];
    yy = all[2];
  }
};

/// What Mantel's moments need of one side's entries less their mean `centre`: `squares` is the sum of their squares over i != j, `rows` the
/// sums of each item's entries before the mean is taken off.
inline PairSums pair_sums(const std::vector<Index>& rows, double squares, double centre) {
  PairSums sums{0, squares, 0};
  const double others = static_cast<double>(rows.size()) - 1;
  for (const Index row : rows) sums.row_squares += std::pow(static_cast<double>(row) - others * centre, 2);
  return sums;
}

/// Mantel's moments of a correlation over the triangle: of half the sum over ordered pairs, in units of `norm`.
inline Moments chance_of(Index m, const PairSums& a, const PairSums& b, double norm) {
  const Moments moments = mantel_moments(m, a, b);
  return Moments{moments.mean / (2 * norm), moments.sd / (2 * norm)};
}

/// Sum over i < j of a_ij b_(order i, order j).
inline double permuted_sum(const std::vector<float>& a, const std::vector<float>& b, Index m, const std::vector<Index>& order) {
  const std::vector<std::int32_t> places(order.begin(), order.end());
  const std::int32_t* place = places.data();
  double sum = 0;
  for (Index i = 0; i < m; ++i) {
    const float* row_a = a.data() + i * m;
    const float* row_b = b.data() + order[at(i)] * m;
    double row_sum = 0;
#pragma omp simd reduction(+ : row_sum)
    for (Index j = i + 1; j < m; ++j) row_sum += static_cast<double>(row_a[j]) * static_cast<double>(row_b[place[j]]);
    sum += row_sum;
  }
  return sum;
}

inline std::vector<Index> identity(Index m) {
  std::vector<Index> order(at(m));
  std::iota(order.begin(), order.end(), Index{0});
  return order;
}

} // namespace concord::similarity
