#include "concord/similarity/rsa.hpp"

#include "concord/comm/collectives.hpp"
#include "concord/core/philox.hpp"
#include "concord/core/threads.hpp"
#include "concord/linalg/dense.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

namespace concord::similarity {
namespace {

__extension__ typedef __int128 Int128;

std::size_t at(Index i) {
  return static_cast<std::size_t>(i);
}

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Exact sums over all ranks.
std::vector<Int128> exact_sum(const comm::Communicator& comm, const std::vector<Int128>& mine) {
  const auto all = comm::all_gather(comm, mine);
  std::vector<Int128> sum(mine.size(), 0);
  for (std::size_t i = 0; i < all.size(); ++i) sum[i % mine.size()] += all[i];
  return sum;
}

/// One square of the upper triangle of an RDM.
struct Tile {
  Index i0, ni, j0, nj;
  Index entries() const { return ni * nj; }
  /// The first column of row i (in the tile) that lies above the diagonal.
  Index first(Index i) const { return i0 == j0 ? i + 1 : 0; }
};

/// Tiles of this rank, along rows so that a thread can keep the prepared rows.
std::vector<Tile> own_tiles(Index m, Index size, int rank, int ranks) {
  std::vector<Tile> tiles;
  Index number = 0;
  for (Index i0 = 0; i0 < m; i0 += size)
    for (Index j0 = i0; j0 < m; j0 += size, ++number)
      if (number % ranks == rank) tiles.push_back({i0, std::min(size, m - i0), j0, std::min(size, m - j0)});
  return tiles;
}

/// The k nearest items of every item so far, as (key, item) in one number: the smaller, the nearer; ties go to the smaller item.
class Nearest {
public:
  Nearest(Index m, Index k) : k_(k), lists_(at(m * k), ~std::uint64_t{0}) {}
  void add(const Tile& tile, const Key* keys) {
    for (Index i = 0; i < tile.ni; ++i)
      for (Index j = tile.first(i); j < tile.nj; ++j) {
        const Key key = keys[i * tile.nj + j];
        offer(tile.i0 + i, key, tile.j0 + j);
        offer(tile.j0 + j, key, tile.i0 + i);
      }
  }
  void merge(const std::vector<std::uint64_t>& other) {
    for (std::size_t e = 0; e < other.size(); ++e) insert(static_cast<Index>(e) / k_, other[e]);
  }
  const std::vector<std::uint64_t>& lists() const { return lists_; }
  Neighbours neighbours() const {
    Neighbours result{k_, std::vector<std::int32_t>(lists_.size())};
    std::transform(lists_.begin(), lists_.end(), result.items.begin(),
                   [](std::uint64_t v) { return static_cast<std::int32_t>(v & 0xffffffffU); });
    for (auto row = result.items.begin(); row != result.items.end(); row += k_) std::sort(row, row + k_);
    return result;
  }

private:
  void offer(Index item, Key key, Index other) {
    if ((std::uint64_t{key} << 32U) < lists_[at((item + 1) * k_ - 1)])
      insert(item, std::uint64_t{key} << 32U | static_cast<std::uint64_t>(other));
  }
  void insert(Index item, std::uint64_t entry) {
    auto* list = lists_.data() + item * k_;
    Index place = k_ - 1;
    if (entry >= list[place]) return;
    for (; place > 0 && list[place - 1] > entry; --place) list[place] = list[place - 1];
    list[place] = entry;
  }
  Index k_;
  std::vector<std::uint64_t> lists_;
};

/// Keys of both RDMs over one tile, in 6 bytes an entry.
class KeyStore {
public:
  explicit KeyStore(const std::vector<Tile>& tiles) {
    begin_.push_back(0);
    for (const auto& tile : tiles) begin_.push_back(begin_.back() + tile.entries());
    low_.resize(at(begin_.back()));
    high_.resize(at(begin_.back()));
  }
  static double bytes(const std::vector<Tile>& tiles) {
    double entries = 0;
    for (const auto& tile : tiles) entries += static_cast<double>(tile.entries());
    return 6 * entries;
  }
  void put(std::size_t tile, const Key* x, const Key* y) {
    const Index begin = begin_[tile];
    for (Index e = 0; e < begin_[tile + 1] - begin; ++e) {
      const std::uint64_t both = x[e] | std::uint64_t{y[e]} << 24U;
      low_[at(begin + e)] = static_cast<std::uint32_t>(both);
      high_[at(begin + e)] = static_cast<std::uint16_t>(both >> 32U);
    }
  }
  void get(std::size_t tile, Key* x, Key* y) const {
    const Index begin = begin_[tile];
    for (Index e = 0; e < begin_[tile + 1] - begin; ++e) {
      const std::uint64_t both = low_[at(begin + e)] | std::uint64_t{high_[at(begin + e)]} << 32U;
      x[e] = static_cast<Key>(both & 0xffffffU);
      y[e] = static_cast<Key>(both >> 24U);
    }
  }

private:
  std::vector<Index> begin_;
  std::vector<std::uint32_t> low_;
  std::vector<std::uint16_t> high_;
};

constexpr int most_bits = 23; // keys up to 2^23, both of which fit 48 bits

/// Room of one thread to make keys in.
struct Workshop {
  Workshop(Index tile, Index d) : rows_i(at(tile * d)), rows_j(at(tile * d)), products(at(tile * tile)) {}
  void make(const Rdm& rdm, const Tile& tile, std::vector<Key>& keys) {
    if (prepared != tile.i0) rdm.prepare(tile.i0, tile.ni, rows_i.data());
    prepared = tile.i0;
    if (tile.i0 != tile.j0) rdm.prepare(tile.j0, tile.nj, rows_j.data());
    rdm.keys(rows_i.data(), tile.i0, tile.ni, tile.i0 == tile.j0 ? rows_i.data() : rows_j.data(), tile.j0, tile.nj, products.data(),
             keys.data());
  }
  std::vector<double> rows_i, rows_j, products;
  Index prepared = -1;
};

/// What a thread gathers of one side in the first pass.
struct Counts {
  Counts(Index keys, Index m, Index k) : histogram(at(keys), 0), nearest(k > 0 ? m : 0, std::max<Index>(1, k)) {}
  std::vector<Index> histogram;
  Nearest nearest;
};

/// Sums over one histogram: of squared centred ranks (doubled), of keys, their squares, and of t^3 - t over ties.
struct HistogramSums {
  Int128 rank_squares = 0;
  Int128 keys = 0;
  Int128 key_squares = 0;
  double ties = 0;
};

HistogramSums sums_of(const std::vector<Index>& histogram, const std::vector<Index>& ranks) {
  HistogramSums sums;
  for (std::size_t key = 0; key < histogram.size(); ++key) {
    const Int128 count = histogram[key];
    if (count == 0) continue;
    sums.rank_squares += count * ranks[key] * ranks[key];
    sums.keys += count * static_cast<Int128>(key);
    sums.key_squares += count * static_cast<Int128>(key) * static_cast<Int128>(key);
    const auto t = static_cast<double>(histogram[key]);
    sums.ties += t * t * t - t;
  }
  return sums;
}

/// Twice the average rank of each key, less twice the mean rank: whole numbers.
std::vector<Index> centred_ranks(const std::vector<Index>& histogram, Index entries) {
  std::vector<Index> ranks(histogram.size());
  Index below = 0;
  for (std::size_t key = 0; key < histogram.size(); ++key) {
    ranks[key] = 2 * below + histogram[key] - entries;
    below += histogram[key];
  }
  return ranks;
}

} // namespace

/// Tiles of this rank and the keys over them, kept or made again.
struct Rsa::Tiles {
  Tiles(const comm::Communicator& comm, const Rdm& a, const Rdm& b, const RsaOptions& options)
      : x(a), y(b), tiles(own_tiles(a.rows(), options.tile, comm.rank(), comm.size())), size(std::min(options.tile, a.rows())),
        threads(std::clamp<int>(options.threads, 1, std::max<int>(1, static_cast<int>(tiles.size())))) {
    if (KeyStore::bytes(tiles) <= options.memory / 2) store = std::make_unique<KeyStore>(tiles);
    for (int t = 0; t < threads; ++t) {
      workshops_x.emplace_back(size, a.cols());
      workshops_y.emplace_back(size, b.cols());
      keys_x.emplace_back(at(size * size));
      keys_y.emplace_back(at(size * size));
    }
  }
  /// visit(thread, tile, keys of x, keys of y) for every tile; threads run side by side.
  template <typename Visit>
  void for_each(bool first, double& seconds_making, const Visit& visit) {
    std::vector<double> making(at(threads), 0.0);
    for_each_item(static_cast<Index>(tiles.size()), threads, [&](int thread, Index number) {
      const auto t = static_cast<std::size_t>(thread);
      const Tile& tile = tiles[at(number)];
      if (first || !store) {
        const linalg::SerialBlas serial;
        const double begin = now();
        workshops_x[t].make(x, tile, keys_x[t]);
        workshops_y[t].make(y, tile, keys_y[t]);
        if (store) store->put(at(number), keys_x[t].data(), keys_y[t].data());
        making[t] += now() - begin;
      } else {
        store->get(at(number), keys_x[t].data(), keys_y[t].data());
      }
      visit(thread, tile, keys_x[t].data(), keys_y[t].data());
    });
    seconds_making += *std::max_element(making.begin(), making.end());
  }
  const Rdm& x;
  const Rdm& y;
  HistogramSums sums_x, sums_y; ///< known behind the first pass
  std::vector<Tile> tiles;
  Index size;
  int threads;
  std::unique_ptr<KeyStore> store;
  std::vector<Workshop> workshops_x, workshops_y;
  std::vector<std::vector<Key>> keys_x, keys_y;
};

/// Of the second pass.
struct Rsa::Sums {
  explicit Sums(Index m) : rank_rows_x(at(m), 0), rank_rows_y(at(m), 0), key_rows_x(at(m), 0), key_rows_y(at(m), 0) {}
  Int128 rank_products = 0;
  Int128 key_products = 0;
  std::vector<Index> rank_rows_x, rank_rows_y, key_rows_x, key_rows_y; ///< sums over the other items of each item
  void add(const Sums& other) {
    rank_products += other.rank_products;
    key_products += other.key_products;
    for (auto [mine, its] : {std::pair{&rank_rows_x, &other.rank_rows_x}, std::pair{&rank_rows_y, &other.rank_rows_y},
                             std::pair{&key_rows_x, &other.key_rows_x}, std::pair{&key_rows_y, &other.key_rows_y}})
      for (std::size_t i = 0; i < mine->size(); ++i) (*mine)[i] += (*its)[i];
  }
};

Rsa::Rsa(const comm::Communicator& comm, const Matrix& x, const Matrix& y, const RsaOptions& options)
    : comm_(comm), options_(options), m_(x.rows) {
  require(options.key_bits > 1 && options.key_bits <= most_bits, ExitCode::internal, "RDM keys of {} bits", options.key_bits);
  const double begin = now();
  const Rdm rdm_x(x, options.kind, options.key_bits);
  const Rdm rdm_y(y, options.kind, options.key_bits);
  if (m_ < 4) result_.reason = fmt::format("{} matched rows are too few", m_);
  for (const auto& [name, rdm] : {std::pair{"X", &rdm_x}, std::pair{"Y", &rdm_y}})
    if (result_.reason.empty() && rdm->undefined_row() >= 0)
      result_.reason = fmt::format("row {} of {} is constant: it has no {}; drop it, or take compare.rdm = \"euclidean\"",
                                   rdm->undefined_row(), name, options.kind == RdmKind::cosine ? "direction" : "correlation with others");
  if (!result_.reason.empty()) return;
  Tiles tiles(comm, rdm_x, rdm_y, options);
  rank(tiles);
  correlate(tiles);
  result_.rank_seconds = now() - begin - result_.rdm_seconds;
  if (options.kendall_samples > 0) sample_kendall(rdm_x, rdm_y);
}

void Rsa::rank(Tiles& tiles) {
  const Index keys = (Index{1} << options_.key_bits) + 1;
  std::vector<Counts> counts_x;
  std::vector<Counts> counts_y;
  const Index k = std::min(options_.neighbours, m_ - 1);
  for (int t = 0; t < tiles.threads; ++t) {
    counts_x.emplace_back(keys, m_, k);
    counts_y.emplace_back(keys, m_, k);
  }
  tiles.for_each(true, result_.rdm_seconds, [&](int thread, const Tile& tile, const Key* x, const Key* y) {
    for (auto [counts, of_side] :
         {std::pair{&counts_x[static_cast<std::size_t>(thread)], x}, std::pair{&counts_y[static_cast<std::size_t>(thread)], y}}) {
      Index* histogram = counts->histogram.data();
      for (Index i = 0; i < tile.ni; ++i)
        for (Index j = tile.first(i); j < tile.nj; ++j) ++histogram[of_side[i * tile.nj + j]];
      if (k > 0) counts->nearest.add(tile, of_side);
    }
  });
  const Index entries = m_ * (m_ - 1) / 2;
  for (auto [counts, table, neighbours] :
       {std::tuple{&counts_x, &rank_table_x_, &result_.neighbours_x}, std::tuple{&counts_y, &rank_table_y_, &result_.neighbours_y}}) {
    auto& all = counts->front();
    for (std::size_t t = 1; t < counts->size(); ++t) {
      for (std::size_t key = 0; key < all.histogram.size(); ++key) all.histogram[key] += (*counts)[t].histogram[key];
      all.nearest.merge((*counts)[t].nearest.lists());
    }
    comm::sum(comm_, all.histogram);
    *table = centred_ranks(all.histogram, entries);
    if (k == 0) continue;
    const auto lists = comm_.size() > 1 ? comm::all_gather(comm_, all.nearest.lists()) : std::vector<std::uint64_t>{};
    const std::size_t length = all.nearest.lists().size();
    for (std::size_t begin = 0; begin < lists.size(); begin += length)
      if (begin / length != static_cast<std::size_t>(comm_.rank()))
        all.nearest.merge(
            {lists.begin() + static_cast<std::ptrdiff_t>(begin), lists.begin() + static_cast<std::ptrdiff_t>(begin + length)});
    *neighbours = all.nearest.neighbours();
  }
  const auto x = sums_of(counts_x.front().histogram, rank_table_x_);
  const auto y = sums_of(counts_y.front().histogram, rank_table_y_);
  const auto n = static_cast<double>(entries);
  result_.ties_x = x.ties / (n * n * n - n);
  result_.ties_y = y.ties / (n * n * n - n);
  if (x.rank_squares == 0 || y.rank_squares == 0) result_.reason = "an RDM is constant";
  tiles.sums_x = x;
  tiles.sums_y = y;
}

namespace {

/// What Mantel's moments need of one side's entries less their mean `centre`: `squares` is the sum of their squares over i != j, `rows` the
/// sums of each item's entries before the mean is taken off.
PairSums pair_sums(const std::vector<Index>& rows, double squares, double centre) {
  PairSums sums{0, squares, 0};
  const double others = static_cast<double>(rows.size()) - 1;
  for (const Index row : rows) sums.row_squares += std::pow(static_cast<double>(row) - others * centre, 2);
  return sums;
}

} // namespace

void Rsa::correlate(Tiles& tiles) {
  if (!result_.reason.empty()) return;
  const double table_bytes = 4.0 * static_cast<double>(m_) * static_cast<double>(m_);
  if (options_.permute && 2 * table_bytes <= options_.memory / 2)
    for (auto* table : {&ranks_x_, &ranks_y_}) table->assign(at(m_ * m_), 0.0F);
  if (options_.permute && 4 * table_bytes <= options_.memory / 2)
    for (auto* table : {&values_x_, &values_y_}) table->assign(at(m_ * m_), 0.0F);
  const Int128 entries = Int128{m_} * (m_ - 1) / 2;
  middle_x_ = static_cast<Index>(tiles.sums_x.keys / entries);
  middle_y_ = static_cast<Index>(tiles.sums_y.keys / entries);
  std::vector<Sums> sums(static_cast<std::size_t>(tiles.threads), Sums(m_));
  tiles.for_each(false, result_.rdm_seconds, [&](int thread, const Tile& tile, const Key* x, const Key* y) {
    add_tile(sums[static_cast<std::size_t>(thread)], tile.i0, tile.ni, tile.j0, tile.nj, x, y);
  });
  for (std::size_t t = 1; t < sums.size(); ++t) sums.front().add(sums[t]);
  for (auto* rows : {&sums.front().rank_rows_x, &sums.front().rank_rows_y, &sums.front().key_rows_x, &sums.front().key_rows_y})
    comm::sum(comm_, *rows);
  const auto products = exact_sum(comm_, {sums.front().rank_products, sums.front().key_products});
  sums.front().rank_products = products[0];
  sums.front().key_products = products[1];
  for (auto* table : {&ranks_x_, &ranks_y_, &values_x_, &values_y_})
    if (!table->empty() && comm_.size() > 1) comm::sum(comm_, *table); // every entry has one owner, the others add exact zeros
  take(tiles, sums.front());
}

void Rsa::add_tile(Sums& sums, Index i0, Index ni, Index j0, Index nj, const Key* x, const Key* y) {
  const Index* ranks_x = rank_table_x_.data();
  const Index* ranks_y = rank_table_y_.data();
  for (Index i = 0; i < ni; ++i) {
    Index of_row[4] = {0, 0, 0, 0};
    Index key_products = 0; // below 2^46 each, and 512 of them a row of a tile
    for (Index j = i0 == j0 ? i + 1 : 0; j < nj; ++j) {
      const Index key_x = x[i * nj + j];
      const Index key_y = y[i * nj + j];
      const Index rank_x = ranks_x[key_x];
      const Index rank_y = ranks_y[key_y];
      sums.rank_products += Int128{rank_x} * rank_y;
      key_products += key_x * key_y;
      of_row[0] += rank_x;
      of_row[1] += rank_y;
      of_row[2] += key_x;
      of_row[3] += key_y;
      sums.rank_rows_x[at(j0 + j)] += rank_x;
      sums.rank_rows_y[at(j0 + j)] += rank_y;
      sums.key_rows_x[at(j0 + j)] += key_x;
      sums.key_rows_y[at(j0 + j)] += key_y;
    }
    sums.key_products += key_products;
    sums.rank_rows_x[at(i0 + i)] += of_row[0];
    sums.rank_rows_y[at(i0 + i)] += of_row[1];
    sums.key_rows_x[at(i0 + i)] += of_row[2];
    sums.key_rows_y[at(i0 + i)] += of_row[3];
  }
  if (!ranks_x_.empty()) {
    fill_table(ranks_x_, i0, ni, j0, nj, [&](Index e) { return static_cast<float>(ranks_x[x[e]]); });
    fill_table(ranks_y_, i0, ni, j0, nj, [&](Index e) { return static_cast<float>(ranks_y[y[e]]); });
  }
  if (!values_x_.empty()) {
    fill_table(values_x_, i0, ni, j0, nj, [&](Index e) { return static_cast<float>(static_cast<Index>(x[e]) - middle_x_); });
    fill_table(values_y_, i0, ni, j0, nj, [&](Index e) { return static_cast<float>(static_cast<Index>(y[e]) - middle_y_); });
  }
}

template <typename Value>
void Rsa::fill_table(std::vector<float>& table, Index i0, Index ni, Index j0, Index nj, const Value& value) const {
  for (Index i = 0; i < ni; ++i)
    for (Index j = i0 == j0 ? i + 1 : 0; j < nj; ++j)
      table[at((i0 + i) * m_ + j0 + j)] = table[at((j0 + j) * m_ + i0 + i)] = value(i * nj + j);
}

void Rsa::take(const Tiles& tiles, const Sums& sums) {
  const auto real = [](Int128 v) { return static_cast<long double>(v); };
  const Int128 entries = Int128{m_} * (m_ - 1) / 2;
  const auto& x = tiles.sums_x;
  const auto& y = tiles.sums_y;
  norm_ = static_cast<double>(std::sqrt(real(x.rank_squares)) * std::sqrt(real(y.rank_squares)));
  const long double rho = real(sums.rank_products) / (std::sqrt(real(x.rank_squares)) * std::sqrt(real(y.rank_squares)));
  result_.spearman = static_cast<double>(rho);
  // Doubled ranks: sums of products are four times those of ranks, 12 / 4 = 3.
  const auto pairs = real(entries);
  result_.rho_a = static_cast<double>(3 * real(sums.rank_products) / (pairs * (pairs * pairs - 1)));
  result_.rho_a_of_spearman =
      static_cast<double>(3 * std::sqrt(real(x.rank_squares)) * std::sqrt(real(y.rank_squares)) / (pairs * (pairs * pairs - 1)));
  // n^2 covariances and variances of keys, exact.
  const Int128 covariance = entries * sums.key_products - x.keys * y.keys;
  const Int128 variance_x = entries * x.key_squares - x.keys * x.keys;
  const Int128 variance_y = entries * y.key_squares - y.keys * y.keys;
  const long double spread = std::sqrt(real(variance_x)) * std::sqrt(real(variance_y));
  result_.pearson = static_cast<double>(real(covariance) / spread);
  value_norm_ = static_cast<double>(spread / pairs);
  value_mean_product_ = static_cast<double>(real(x.keys - entries * middle_x_) * real(y.keys - entries * middle_y_) / pairs);

  const auto chance = [&](const PairSums& a, const PairSums& b, double norm) {
    const Moments moments = mantel_moments(m_, a, b); // over ordered pairs: twice the triangle
    return Moments{moments.mean / (2 * norm), moments.sd / (2 * norm)};
  };
  result_.spearman_chance = chance(pair_sums(sums.rank_rows_x, static_cast<double>(2 * x.rank_squares), 0),
                                   pair_sums(sums.rank_rows_y, static_cast<double>(2 * y.rank_squares), 0), norm_);
  const auto of_keys = [&](const HistogramSums& h, const std::vector<Index>& rows, Int128 variance) {
    return pair_sums(rows, static_cast<double>(2 * real(variance) / pairs), static_cast<double>(real(h.keys) / pairs));
  };
  result_.pearson_chance = chance(of_keys(x, sums.key_rows_x, variance_x), of_keys(y, sums.key_rows_y, variance_y), value_norm_);
}

namespace {

/// Sum over i < j of a_ij b_(order i, order j).
double permuted_sum(const std::vector<float>& a, const std::vector<float>& b, Index m, const std::vector<Index>& order) {
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

} // namespace

double Rsa::spearman_of(const std::vector<Index>& order) const {
  return permuted_sum(ranks_x_, ranks_y_, m_, order) / norm_;
}

double Rsa::pearson_of(const std::vector<Index>& order) const {
  return (permuted_sum(values_x_, values_y_, m_, order) - value_mean_product_) / value_norm_;
}

namespace {

/// One draw for Kendall's tau: two entries of the RDM, each a pair of items i < j.
struct EntryPair {
  Index i[2], j[2];
};

EntryPair draw_entries(const Philox& random, Index sample, Index m) {
  EntryPair drawn{};
  for (std::uint64_t e = 0; e < 2; ++e) {
    const auto draw = 4 * static_cast<std::uint64_t>(sample) + 2 * e;
    const auto one = static_cast<Index>(random.below(draw, static_cast<std::uint64_t>(m)));
    auto other = static_cast<Index>(random.below(draw + 1, static_cast<std::uint64_t>(m - 1)));
    other += other >= one ? 1 : 0;
    drawn.i[e] = std::min(one, other);
    drawn.j[e] = std::max(one, other);
  }
  return drawn;
}

/// +1 where two RDMs order two entries alike, -1 where they order them opposite, 0 where one of them ties: tau-a is its mean.
template <typename T>
Index concordance(T x0, T x1, T y0, T y1) {
  return (Index{x1 > x0} - Index{x1 < x0}) * (Index{y1 > y0} - Index{y1 < y0});
}

} // namespace

double Rsa::kendall_of(const std::vector<Index>& order) const {
  const Philox random(options_.seed, "kendall");
  Index sum = 0;
  for (Index s = 0; s < options_.kendall_samples; ++s) {
    const auto e = draw_entries(random, s, m_);
    const auto x = [&](int which) { return ranks_x_[at(e.i[which] * m_ + e.j[which])]; };
    const auto y = [&](int which) { return ranks_y_[at(order[at(e.i[which])] * m_ + order[at(e.j[which])])]; };
    sum += concordance(x(0), x(1), y(0), y(1));
  }
  return static_cast<double>(sum) / static_cast<double>(options_.kendall_samples);
}

void Rsa::sample_kendall(const Rdm& x, const Rdm& y) {
  const Philox random(options_.seed, "kendall");
  const Index mine = (options_.kendall_samples - comm_.rank() + comm_.size() - 1) / comm_.size();
  const auto threads = static_cast<std::size_t>(options_.threads);
  std::vector<std::vector<double>> rooms(threads, std::vector<double>(at(2 * std::max(x.cols(), y.cols()))));
  std::vector<Index> concordant(threads, 0);
  std::vector<Index> untied(threads, 0);
  constexpr Index chunk = 64;
  for_each_item((mine + chunk - 1) / chunk, options_.threads, [&](int thread, Index item) {
    const auto t = static_cast<std::size_t>(thread);
    for (Index s = item * chunk; s < std::min(mine, (item + 1) * chunk); ++s) {
      const auto e = draw_entries(random, s * comm_.size() + comm_.rank(), m_);
      const auto key = [&](const Rdm& rdm, int which) { return rdm.key(e.i[which], e.j[which], rooms[t].data()); };
      const Index agree = concordance(key(x, 0), key(x, 1), key(y, 0), key(y, 1));
      concordant[t] += agree;
      untied[t] += agree * agree;
    }
  });
  const auto n = static_cast<double>(options_.kendall_samples);
  const auto total = static_cast<double>(comm::sum_of(comm_, std::accumulate(concordant.begin(), concordant.end(), Index{0})));
  const auto squares = static_cast<double>(comm::sum_of(comm_, std::accumulate(untied.begin(), untied.end(), Index{0})));
  result_.kendall = total / n;
  result_.kendall_error = std::sqrt(std::max(0.0, squares / n - result_.kendall * result_.kendall) / n);
}

} // namespace concord::similarity
