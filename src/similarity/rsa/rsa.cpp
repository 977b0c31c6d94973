#include "concord/similarity/rsa/rsa.hpp"

#include "concord/comm/collectives.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/at.hpp"
#include "concord/core/machine/threads.hpp"
#include "concord/linalg/dense.hpp"

#include "similarity/measures/nearest.hpp"
#include "similarity/rsa/kendall.hpp"
#include "similarity/rsa/rank_sums.hpp"
#include "similarity/rsa/rdm_tiles.hpp"
#include <algorithm>
#include <cmath>
#include <numeric>

namespace concord::similarity {
/// One of the two RDMs.
struct Rsa::Side {
  const Rdm& rdm;
  KeyMap map;
  int number; ///< 0: X, 1: Y
  std::vector<Workshop> workshops;
  Ranks ranks; ///< known behind the first pass
};

/// Tiles of this rank and the keys over them, kept or made again.
struct Rsa::Tiles {
  Tiles(const comm::Communicator& comm, const Rdm& a, const Rdm& b, const RsaOptions& options)
      : x{a, key_map_of(comm, a, options.key_bits), 0, {}, {}}, y{b, key_map_of(comm, b, options.key_bits), 1, {}, {}},
        tiles(own_tiles(a.rows(), options.tile, comm.rank(), comm.size())), size(std::min(options.tile, a.rows())),
        threads(std::clamp<int>(options.threads, 1, std::max<int>(1, static_cast<int>(tiles.size())))) {
    if (KeyStore::bytes(tiles) <= options.memory / 2) store = std::make_unique<KeyStore>(tiles);
    for (int t = 0; t < threads; ++t) {
      x.workshops.emplace_back(size, a.cols());
      y.workshops.emplace_back(size, b.cols());
    }
  }
  /// visit(thread, tile) for every tile, with keys in the workshops, and in the first pass dissimilarities; threads run side by side. Ends
  /// early where this rank is to stop.
  template <typename Visit>
  void for_each(bool first, double& seconds_making, const Visit& visit) {
    std::vector<double> making(at(threads), 0.0);
    for_each_item(static_cast<Index>(tiles.size()), threads, [&](int thread, Index number) {
      if (comm::stop_wanted_here()) return;
      const auto t = static_cast<std::size_t>(thread);
      const Tile& tile = tiles[at(number)];
      auto& of_x = x.workshops[t];
      auto& of_y = y.workshops[t];
      if (first || !store) {
        const linalg::SerialBlas serial;
        const double begin = now();
        of_x.make(x.rdm, x.map, tile);
        of_y.make(y.rdm, y.map, tile);
        if (store) store->put(at(number), of_x.keys.data(), of_y.keys.data());
        making[t] += now() - begin;
      } else {
        store->get(at(number), of_x.keys.data(), of_y.keys.data());
      }
      visit(t, tile);
    });
    seconds_making += *std::max_element(making.begin(), making.end());
  }
  Side x, y;
  std::vector<Tile> tiles;
  Index size;
  int threads;
  std::unique_ptr<KeyStore> store;
};

struct Rsa::Sums : ProductSums {
  using ProductSums::ProductSums;
};

Rsa::~Rsa() = default;

Rsa::Rsa(const comm::Communicator& comm, const Matrix& x, const Matrix& y, const RsaOptions& options)
    : comm_(comm), options_(options), m_(x.rows) {
  require(options.key_bits > 1 && options.key_bits <= most_bits, ExitCode::internal, "RDM keys of {} bits", options.key_bits);
  const double begin = now();
  const Rdm rdm_x(x, options.kind);
  const Rdm rdm_y(y, options.kind);
  if (m_ < 4) result_.reason = fmt::format("{} matched rows are too few", m_);
  for (const auto& [name, rdm] : {std::pair{"X", &rdm_x}, std::pair{"Y", &rdm_y}})
    if (result_.reason.empty() && rdm->undefined_row() >= 0)
      result_.reason = fmt::format("row {} of {} is constant: it has no {}; drop it, or take compare.rdm = \"euclidean\"",
                                   rdm->undefined_row(), name, options.kind == RdmKind::cosine ? "direction" : "correlation with others");
  if (!result_.reason.empty()) return;
  Tiles tiles(comm, rdm_x, rdm_y, options);
  for (const auto* side : {&tiles.x, &tiles.y})
    if (result_.reason.empty()) result_.reason = reason_of(side->map, side->number == 0 ? "X" : "Y");
  if (!result_.reason.empty()) return;
  count(tiles);
  if (result_.reason.empty()) correlate(tiles);
  result_.rank_seconds = now() - begin - result_.rdm_seconds;
}

/// First pass: histograms of keys, neighbours, and all that Pearson's correlation asks for.
void Rsa::count(Tiles& tiles) {
  const double table_bytes = 4.0 * static_cast<double>(m_) * static_cast<double>(m_);
  if (options_.permute && 4 * table_bytes <= options_.memory / 2)
    for (auto* table : {&values_x_, &values_y_}) table->assign(at(m_ * m_), 0.0F);
  const Index k = std::min(options_.neighbours, m_ - 1);
  const TieOrder ties_x(k > 0 ? m_ : 0, options_.seed, 0);
  const TieOrder ties_y(k > 0 ? m_ : 0, options_.seed, 1);
  struct OfSide {
    std::vector<Index> histogram;
    Nearest nearest;
  };
  const auto rooms = [&](const Side& side, const TieOrder& ties) {
    return std::vector<OfSide>(at(tiles.threads), {std::vector<Index>(at(side.map.keys()), 0), Nearest(k > 0 ? m_ : 0, k, ties)});
  };
  auto rooms_x = rooms(tiles.x, ties_x);
  auto rooms_y = rooms(tiles.y, ties_y);
  std::vector<Sums> sums(at(tiles.threads), Sums(m_));
  tiles.for_each(true, result_.rdm_seconds, [&](std::size_t t, const Tile& tile) {
    for (auto [side, room] : {std::pair{&tiles.x, &rooms_x[t]}, std::pair{&tiles.y, &rooms_y[t]}}) {
      const auto& workshop = side->workshops[t];
      for (Index i = 0; i < tile.ni; ++i)
        for (Index j = tile.first(i); j < tile.nj; ++j) {
          const std::size_t entry = at(i * tile.nj + j);
          const Key key = workshop.keys[entry];
          ++room->histogram[key];
          if (k == 0) continue;
          const auto near = side->map.fine(workshop.values[entry], key);
          room->nearest.offer(tile.i0 + i, near, tile.j0 + j);
          room->nearest.offer(tile.j0 + j, near, tile.i0 + i);
        }
    }
    const auto x = [&](Index e) { return static_cast<Index>(tiles.x.map.centred(tiles.x.workshops[t].values[at(e)])); };
    const auto y = [&](Index e) { return static_cast<Index>(tiles.y.map.centred(tiles.y.workshops[t].values[at(e)])); };
    sums[t].add(tile, x, y);
    if (values_x_.empty()) return;
    fill_table(values_x_, m_, tile, x);
    fill_table(values_y_, m_, tile, y);
  });
  comm::stop_if_requested(comm_, "compare");
  const Index entries = m_ * (m_ - 1) / 2;
  for (auto [side, of_threads, neighbours] :
       {std::tuple{&tiles.x, &rooms_x, &result_.neighbours_x}, std::tuple{&tiles.y, &rooms_y, &result_.neighbours_y}}) {
    auto& all = of_threads->front();
    for (std::size_t t = 1; t < of_threads->size(); ++t) {
      for (std::size_t key = 0; key < all.histogram.size(); ++key) all.histogram[key] += (*of_threads)[t].histogram[key];
      all.nearest.merge((*of_threads)[t].nearest);
    }
    comm::sum(comm_, all.histogram);
    side->ranks = ranks_of(all.histogram, entries);
    if (side->ranks.squares == 0) result_.reason = "an RDM is constant";
    if (k == 0) continue;
    all.nearest.merge_ranks(comm_);
    *neighbours = all.nearest.neighbours();
  }
  result_.ties_x = tiles.x.ranks.ties;
  result_.ties_y = tiles.y.ranks.ties;
  for (std::size_t t = 1; t < sums.size(); ++t) sums.front().add(sums[t]);
  sums.front().add_ranks(comm_);
  if (result_.reason.empty()) take_values(sums.front());
}

/// Pearson's correlation and its chance, from exact sums of values about their median.
void Rsa::take_values(const Sums& sums) {
  const long double entries = static_cast<long double>(m_) * static_cast<long double>(m_ - 1) / 2;
  const auto total = [](const std::vector<Index>& rows) { return real(std::accumulate(rows.begin(), rows.end(), Int128{0})) / 2; };
  const long double sum_x = total(sums.rows_x);
  const long double sum_y = total(sums.rows_y);
  const long double squares_x = real(sums.xx) - sum_x * sum_x / entries;
  const long double squares_y = real(sums.yy) - sum_y * sum_y / entries;
  const long double norm = std::sqrt(squares_x) * std::sqrt(squares_y);
  result_.pearson = static_cast<double>((real(sums.xy) - sum_x * sum_y / entries) / norm);
  value_norm_ = static_cast<double>(norm);
  value_mean_product_ = static_cast<double>(sum_x * sum_y / entries);
  result_.pearson_chance =
      chance_of(m_, pair_sums(sums.rows_x, static_cast<double>(2 * squares_x), static_cast<double>(sum_x / entries)),
                pair_sums(sums.rows_y, static_cast<double>(2 * squares_y), static_cast<double>(sum_y / entries)), value_norm_);
}

/// Second pass: Spearman's correlation.
void Rsa::correlate(Tiles& tiles) {
  const double table_bytes = 4.0 * static_cast<double>(m_) * static_cast<double>(m_);
  if (options_.permute && 2 * table_bytes <= options_.memory / 2)
    for (auto* table : {&ranks_x_, &ranks_y_}) table->assign(at(m_ * m_), 0.0F);
  std::vector<Sums> sums(at(tiles.threads), Sums(m_));
  tiles.for_each(false, result_.rdm_seconds, [&](std::size_t t, const Tile& tile) {
    const Key* keys_x = tiles.x.workshops[t].keys.data();
    const Key* keys_y = tiles.y.workshops[t].keys.data();
    const auto x = [&](Index e) { return tiles.x.ranks.table[keys_x[e]]; };
    const auto y = [&](Index e) { return tiles.y.ranks.table[keys_y[e]]; };
    sums[t].add(tile, x, y);
    if (ranks_x_.empty()) return;
    fill_table(ranks_x_, m_, tile, x);
    fill_table(ranks_y_, m_, tile, y);
  });
  comm::stop_if_requested(comm_, "compare");
  for (std::size_t t = 1; t < sums.size(); ++t) sums.front().add(sums[t]);
  sums.front().add_ranks(comm_);
  take_ranks(tiles, sums.front());
  share_tables();
  make_law(tiles);
  measure_kendall(tiles);
}

void Rsa::take_ranks(const Tiles& tiles, const Sums& sums) {
  const long double norm = std::sqrt(real(tiles.x.ranks.squares)) * std::sqrt(real(tiles.y.ranks.squares));
  norm_ = static_cast<double>(norm);
  result_.spearman = static_cast<double>(real(sums.xy) / norm);
  // Doubled ranks: sums of products are four times those of ranks, 12 / 4 = 3.
  const long double pairs = static_cast<long double>(m_) * static_cast<long double>(m_ - 1) / 2;
  const long double to_rho_a = 3 / (pairs * (pairs * pairs - 1));
  result_.rho_a = static_cast<double>(to_rho_a * real(sums.xy));
  result_.rho_a_of_spearman = static_cast<double>(to_rho_a * norm);
  result_.spearman_chance = chance_of(m_, pair_sums(sums.rows_x, static_cast<double>(2 * real(tiles.x.ranks.squares)), 0),
                                      pair_sums(sums.rows_y, static_cast<double>(2 * real(tiles.y.ranks.squares)), 0), norm_);
}

void Rsa::share_tables() {
  for (auto* table : {&ranks_x_, &ranks_y_, &values_x_, &values_y_})
    if (!table->empty() && comm_.size() > 1) comm::sum(comm_, *table); // every entry has one owner, the others add exact zeros
  if (permutes_ranks()) spearman_rounding_ = result_.spearman - spearman_of(identity(m_));
  if (permutes_values()) pearson_rounding_ = result_.pearson - pearson_of(identity(m_));
}

/// Skewness where no permutations will give p.
void Rsa::make_law(const Tiles& tiles) {
  const bool always = options_.skewness == RsaSkewness::wanted;
  if (options_.skewness == RsaSkewness::none || (!always && permutes_ranks() && permutes_values())) return;
  constexpr Index most = 1024;
  const auto rows = some_rows(m_, most, "rdm skewness");
  const auto n = static_cast<Index>(rows.size());
  std::vector<double> values_x = tiles.x.rdm.among(rows);
  std::vector<double> values_y = tiles.y.rdm.among(rows);
  const auto skewness = [&](const auto& number) {
    std::vector<double> x(values_x.size());
    std::vector<double> y(values_y.size());
    std::transform(values_x.begin(), values_x.end(), x.begin(), [&](double v) { return number(tiles.x, v); });
    std::transform(values_y.begin(), values_y.end(), y.begin(), [&](double v) { return number(tiles.y, v); });
    return mantel_skewness(n, x, y);
  };
  if (always || !permutes_ranks())
    result_.spearman_chance.skew = skewness([](const Side& side, double v) { return static_cast<double>(side.ranks.table[side.map(v)]); });
  if (always || !permutes_values()) result_.pearson_chance.skew = skewness([](const Side& side, double v) { return side.map.centred(v); });
}

double Rsa::spearman_of(const std::vector<Index>& order) const {
  return permuted_sum(ranks_x_, ranks_y_, m_, order) / norm_ + spearman_rounding_;
}

double Rsa::pearson_of(const std::vector<Index>& order) const {
  return (permuted_sum(values_x_, values_y_, m_, order) - value_mean_product_) / value_norm_ + pearson_rounding_;
}

double Rsa::kendall_of(const std::vector<Index>& order) const {
  const EntryPairs pairs(m_, options_.kendall_samples, options_.seed);
  Index sum = 0;
  for (Index s = 0; s < pairs.count(); ++s) {
    const auto e = pairs(s);
    const auto x = [&](int which) { return ranks_x_[at(e.i[which] * m_ + e.j[which])]; };
    const auto y = [&](int which) { return ranks_y_[at(order[at(e.i[which])] * m_ + order[at(e.j[which])])]; };
    sum += concordance(x(0), x(1), y(0), y(1));
  }
  return static_cast<double>(sum) / static_cast<double>(pairs.count());
}

/// From the tables where there are some, so that permuted scores are of the same numbers; else each entry by itself.
void Rsa::measure_kendall(const Tiles& tiles) {
  if (options_.kendall_samples == 0) return;
  const EntryPairs pairs(m_, options_.kendall_samples, options_.seed);
  const Index mine = (pairs.count() - comm_.rank() + comm_.size() - 1) / comm_.size();
  const auto threads = static_cast<std::size_t>(options_.threads);
  std::vector<std::vector<double>> rooms(threads, std::vector<double>(at(2 * std::max(tiles.x.rdm.cols(), tiles.y.rdm.cols()))));
  std::vector<Index> concordant(threads, 0);
  std::vector<Index> untied(threads, 0);
  const auto rank_of = [&](const Side& side, const std::vector<float>& table, Index i, Index j, double* room) {
    return table.empty() ? static_cast<float>(side.ranks.table[side.map(side.rdm.dissimilarity(i, j, room))]) : table[at(i * m_ + j)];
  };
  constexpr Index chunk = 64;
  for_each_item((mine + chunk - 1) / chunk, options_.threads, [&](int thread, Index item) {
    if (comm::stop_wanted_here()) return;
    const auto t = static_cast<std::size_t>(thread);
    for (Index s = item * chunk; s < std::min(mine, (item + 1) * chunk); ++s) {
      const auto e = pairs(s * comm_.size() + comm_.rank());
      const auto x = [&](int which) { return rank_of(tiles.x, ranks_x_, e.i[which], e.j[which], rooms[t].data()); };
      const auto y = [&](int which) { return rank_of(tiles.y, ranks_y_, e.i[which], e.j[which], rooms[t].data()); };
      const Index agree = concordance(x(0), x(1), y(0), y(1));
      concordant[t] += agree;
      untied[t] += agree * agree;
    }
  });
  comm::stop_if_requested(comm_, "compare");
  const auto mean = [&](const std::vector<Index>& sums) {
    const Index all = comm::sum_of(comm_, std::accumulate(sums.begin(), sums.end(), Index{0}));
    return static_cast<double>(all) / static_cast<double>(pairs.count());
  };
  result_.kendall = mean(concordant);
  result_.kendall_error = pairs.error(result_.kendall, mean(untied));
}

} // namespace concord::similarity
