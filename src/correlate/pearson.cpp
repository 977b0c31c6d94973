#include "concord/correlate/pearson.hpp"

#include "concord/comm/collectives.hpp"
#include "concord/core/threads.hpp"

#include "sweep.hpp"
#include <array>
#include <bit>
#include <limits>
#include <list>
#include <mutex>
#include <optional>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace concord::correlate {
namespace {

using kernels::Accumulator;

std::size_t at(Index i) {
  return static_cast<std::size_t>(i);
}

/// What is kept of a layer for the next pairs, within a limit of bytes; what was not used for longest goes first.
template <typename ShareType>
class Kept {
public:
  std::shared_ptr<const ShareType> find(int layer) {
    for (auto entry = entries_.begin(); entry != entries_.end(); ++entry)
      if (entry->first == layer) {
        entries_.splice(entries_.begin(), entries_, entry);
        return entries_.front().second;
      }
    return nullptr;
  }
  void keep(int layer, std::shared_ptr<const ShareType> share) { entries_.emplace_front(layer, std::move(share)); }
  double bytes() const {
    double sum = 0;
    for (const auto& entry : entries_) sum += entry.second->held;
    return sum;
  }
  bool drop_oldest() {
    if (entries_.empty()) return false;
    entries_.pop_back();
    return true;
  }

private:
  std::list<std::pair<int, std::shared_ptr<const ShareType>>> entries_;
};

/// What a feature takes of a rank that looks for its best partners: its places in a table, and what of them travels.
constexpr double feature_bytes = 640;

/// Bytes to hold and to receive a rank of a grid. `sharing`: ranks of a column that have a copy of B's rows together.
double held_by_rank(const ShareGrid& grid, int sharing, const FeatureSource& a, const FeatureSource& b) {
  return (8.0 * static_cast<double>(a.entries()) + feature_bytes * static_cast<double>(a.features())) / grid.rows +
         (8.0 * static_cast<double>(b.entries()) / sharing + feature_bytes * static_cast<double>(b.features())) / grid.columns;
}

/// The grid with the least to hold a rank; of two such the one with fewer columns, since rows of B's share cost the less an entry the
/// longer they are. Rows of 8 entries are the shortest.
ShareGrid least_grid(int ranks, int on_node, const FeatureSource& a, const FeatureSource& b) {
  const double most = std::max(1.0, static_cast<double>(b.entries()) / static_cast<double>(8 * b.rows()));
  ShareGrid best{ranks, 1};
  for (int columns = 2; columns <= ranks && columns <= most; ++columns) {
    const ShareGrid grid{ranks / columns, columns};
    const auto held = [&](const ShareGrid& of) { return held_by_rank(of, std::min(of.rows, on_node), a, b); };
    if (grid.rows * columns == ranks && held(grid) < held(best)) best = grid;
  }
  return best;
}

/// The least grid where ranks of a node share B's rows, or, if that does not fit, where each reads its own in pieces.
ShareGrid grid_for(int ranks, int on_node, const PearsonSettings& settings, const FeatureSource& a, const FeatureSource& b) {
  if (const int columns = settings.grid_columns; columns > 0) {
    require(ranks % columns == 0, ExitCode::config, "{} ranks are no grid of {} columns", ranks, columns);
    return {ranks / columns, columns};
  }
  const ShareGrid shared = least_grid(ranks, on_node, a, b);
  const bool fits = held_by_rank(shared, std::min(shared.rows, on_node), a, b) < settings.memory;
  return fits ? shared : least_grid(ranks, 1, a, b);
}

/// What is found of the features of this rank's shares.
struct Found {
  BestTable best_of_a;
  std::vector<BestTable> best_of_b;           ///< of each thread
  std::vector<double> largest_a;              ///< [shifts, share of A]
  std::vector<std::vector<double>> largest_b; ///< of each thread, [shifts, share of B]

  Found(const Sweep& sweep, Index best, Index shifts, int threads)
      : best_of_a(static_cast<Index>(sweep.features_a().size()), best),
        best_of_b(at(threads), BestTable(static_cast<Index>(sweep.features_b().size()), best)),
        largest_a(at(shifts) * sweep.features_a().size(), 0.0),
        largest_b(at(threads), std::vector<double>(at(shifts) * sweep.features_b().size(), 0.0)) {}

  void merge_threads() {
    const auto threads = static_cast<int>(best_of_b.size());
    const Index features = best_of_b.front().features();
    constexpr Index block = 256;
    for_each_item((features + block - 1) / block, threads, [&](int, Index i) {
      for (std::size_t thread = 1; thread < best_of_b.size(); ++thread)
        for (Index j = i * block; j < std::min(features, (i + 1) * block); ++j) best_of_b.front().merge(best_of_b[thread], j, j);
    });
    for (std::size_t thread = 1; thread < best_of_b.size(); ++thread) {
      for (std::size_t i = 0; i < largest_b.front().size(); ++i)
        largest_b.front()[i] = std::max(largest_b.front()[i], largest_b[thread][i]);
    }
  }
};

/// Looks through the sums of one feature of A with a block of B's: best partners both ways, the largest r of shifted rows.
class Finder {
public:
  Finder(const Sweep& sweep, Index rows, Index best, int threads, Found& found)
      : sweep_(sweep), n_(static_cast<double>(rows)), width_(static_cast<Index>(sweep.features_b().size())), found_(found) {
    for (int thread = 0; thread < threads; ++thread)
      own_.push_back(std::make_unique<Own>(Own{std::vector<double>(at(width_)), {}, BestTable(1, best)}));
  }

  void look(int thread, Index feature, Index shift, const FeatureSums& sums) {
    Own& own = *own_[at(thread)];
    const double* r = correlations(own, feature, sums);
    if (sums.listed > 0) prepare_columns(own);
    if (shift == 0) {
      own.of_a.begin_anew(floor_of(feature));
      offer(own, found_.best_of_b[at(thread)], feature, sums, r);
      offer_listed(own, found_.best_of_b[at(thread)], feature, sums);
      const std::lock_guard guard(lock_of(feature));
      found_.best_of_a.merge(own.of_a, 0, feature);
    } else {
      double* of_b = found_.largest_b[at(thread)].data() + (shift - 1) * width_;
      const double largest = std::max(largest_in_front(of_b, sums, r), largest_listed(own, of_b, feature, sums));
      double& of_a = found_.largest_a[at(shift - 1) * sweep_.features_a().size() + at(feature)];
      const std::lock_guard guard(lock_of(feature));
      of_a = std::max(of_a, largest);
    }
  }

private:
  /// What a listed place needs of B's feature, in one piece of memory.
  struct alignas(32) Column {
    double sum, inverse;
    double floor; ///< at most the table's
  };

  /// What a thread has for itself. Partners of the feature of A at hand come into a table of their own: those of neighbouring features,
  /// which other threads have at hand, lie in the same lines of the common one.
  struct Own {
    std::vector<double> r;
    std::vector<Column> columns; ///< made when they are first needed
    BestTable of_a;
  };

  /// r with each feature of B in front; minus infinity or NaN where that is no candidate.
  const double* correlations(Own& own, Index feature, const FeatureSums& sums) const {
    double* r = own.r.data();
    const double sum = sweep_.moments_a().sum[at(feature)];
    const double inverse = sweep_.moments_a().inverse[at(feature)];
    const double* sum_b = sweep_.moments_b().sum.data();
    const double* inverse_b = sweep_.moments_b().inverse.data();
#pragma omp simd
    for (Index j = sums.first; j < sums.front; ++j) {
      const double value = pearson(n_, sums.of[j].sum, sum, inverse, sum_b[j], inverse_b[j]);
      r[j] = sums.of[j].cofire > 0 ? value : -std::numeric_limits<double>::infinity();
    }
    return r;
  }

  void offer(Own& own, BestTable& of_b, Index feature, const FeatureSums& sums, const double* r) {
    for (Index first = sums.first; first < sums.front; first += group) {
      const Index count = std::min(group, sums.front - first);
      unsigned hits = candidates(r + first, of_b.floors() + first, own.of_a.floor(0), count);
      for (unsigned hit = hits; hit != 0; hit &= hit - 1) of_b.prefetch(first + std::countr_zero(hit));
      for (; hits != 0; hits &= hits - 1) {
        const Index j = first + std::countr_zero(hits);
        if (sums.of[j].cofire > 0) offer_pair(own, of_b, feature, j, sums.of[j], r[j]);
      }
    }
  }

  static constexpr Index group = 8;

  /// Bit j is set where r[j] reaches one of its floors.
  static unsigned candidates(const double* r, const double* floors, double floor, Index count) {
#ifdef __AVX512F__
    const auto lanes = static_cast<__mmask8>((1U << static_cast<unsigned>(count)) - 1);
    const __m512d x = _mm512_maskz_loadu_pd(lanes, r);
    return _mm512_mask_cmp_pd_mask(lanes, x, _mm512_set1_pd(floor), _CMP_GE_OQ) |
           static_cast<unsigned>(_mm512_mask_cmp_pd_mask(lanes, x, _mm512_maskz_loadu_pd(lanes, floors), _CMP_GE_OQ));
#else
    unsigned hits = 0;
    for (Index j = 0; j < count; ++j) hits |= static_cast<unsigned>(r[j] >= floor || r[j] >= floors[j]) << static_cast<unsigned>(j);
    return hits;
#endif
  }

  /// Places of a list that are looked at together: without a branch between them, so that the memory of all is on its way at once.
  static constexpr Index listed_group = 32;

  /// Of listed places [first, first + count): r, and the places themselves.
  struct ListedGroup {
    Index count;
    const std::int32_t* places;
    std::array<double, listed_group> r;
  };
  ListedGroup listed(const Own& own, Index feature, const FeatureSums& sums, Index first) const {
    ListedGroup of{std::min(listed_group, sums.listed - first), sums.places->data() + first, {}};
    const double sum = sweep_.moments_a().sum[at(feature)];
    const double inverse = sweep_.moments_a().inverse[at(feature)];
    for (Index i = 0; i < of.count; ++i) {
      const Column& column = own.columns[at(of.places[i])];
      of.r[at(i)] = pearson(n_, sums.of[of.places[i]].sum, sum, inverse, column.sum, column.inverse);
    }
    return of;
  }

  void offer_listed(Own& own, BestTable& of_b, Index feature, const FeatureSums& sums) {
    for (Index first = 0; first < sums.listed; first += listed_group) {
      const ListedGroup of = listed(own, feature, sums, first);
      const double floor = own.of_a.floor(0);
      std::uint32_t hits = 0;
      for (Index i = 0; i < of.count; ++i) {
        const double r = of.r[at(i)];
        const bool hit = static_cast<int>(r >= floor) + static_cast<int>(r >= own.columns[at(of.places[i])].floor) > 0;
        hits |= static_cast<std::uint32_t>(hit) << static_cast<unsigned>(i);
      }
      for (auto hit = hits; hit != 0; hit &= hit - 1) of_b.prefetch(of.places[std::countr_zero(hit)]);
      for (auto hit = hits; hit != 0; hit &= hit - 1) {
        const auto i = std::countr_zero(hit);
        const Index j = of.places[i];
        offer_pair(own, of_b, feature, j, sums.of[j], of.r[at(i)]);
        own.columns[at(j)].floor = of_b.floor(j);
      }
    }
  }

  void offer_pair(Own& own, BestTable& of_b, Index feature, Index j, const Accumulator& sums, double value) {
    const double r = std::clamp(value, -1.0, 1.0);
    const auto cofire = static_cast<std::int32_t>(sums.cofire);
    if (r >= own.of_a.floor(0)) own.of_a.offer(0, {r, sweep_.features_b()[at(j)], cofire});
    if (r >= of_b.floor(j)) of_b.offer(j, {r, sweep_.features_a()[at(feature)], cofire});
  }

  /// The largest r, 0 at least; each feature of B takes note of its own.
  static double largest_in_front(double* of_b, const FeatureSums& sums, const double* r) {
    double largest = 0;
#pragma omp simd reduction(max : largest)
    for (Index j = sums.first; j < sums.front; ++j) {
      const double clamped = r[j] < 1.0 ? r[j] : (r[j] >= 1.0 ? 1.0 : 0.0); // NaN is no r
      largest = std::max(largest, clamped);
      of_b[j] = std::max(of_b[j], clamped);
    }
    return largest;
  }

  double largest_listed(const Own& own, double* of_b, Index feature, const FeatureSums& sums) const {
    double largest = 0;
    for (Index first = 0; first < sums.listed; first += listed_group) {
      const ListedGroup of = listed(own, feature, sums, first);
      for (Index i = 0; i < of.count; ++i) {
        const double clamped = of.r[at(i)] > 0 ? std::min(of.r[at(i)], 1.0) : 0.0; // NaN is no r
        largest = std::max(largest, clamped);
        of_b[of.places[i]] = std::max(of_b[of.places[i]], clamped);
      }
    }
    return largest;
  }

  void prepare_columns(Own& own) const {
    if (!own.columns.empty() || width_ == 0) return;
    for (std::size_t j = 0; j < at(width_); ++j)
      own.columns.push_back({sweep_.moments_b().sum[j], sweep_.moments_b().inverse[j], -std::numeric_limits<double>::infinity()});
  }

  /// Blocks of a feature of A may be at hand in several threads.
  std::mutex& lock_of(Index feature) {
    return locks_[at(feature) % locks_.size()];
  }
  double floor_of(Index feature) {
    const std::lock_guard guard(lock_of(feature));
    return found_.best_of_a.floor(feature);
  }

  const Sweep& sweep_;
  double n_;
  Index width_;
  std::vector<std::unique_ptr<Own>> own_; ///< of each thread
  std::array<std::mutex, 64> locks_;
  Found& found_;
};

} // namespace

struct PairCorrelator::State {
  const comm::Communicator& comm;
  PearsonSettings settings;
  std::optional<ShareGrid> grid;
  int on_node = 1;                ///< ranks that share a node, on each at least
  comm::Communicator column_comm; ///< the ranks of this rank's column
  Kept<PostingShare> kept_a;
  Kept<RowShare> kept_b;
  const FeatureSource* a = nullptr;
  const FeatureSource* b = nullptr;
  std::optional<Deal> deal_a;
  std::optional<Deal> deal_b;
  std::optional<Sweep> sweep;

  int row() const { return grid->row(comm.rank()); }
  int column() const { return grid->column(comm.rank()); }

  void make_grid() {
    const comm::NodeArray probe(comm, 1); // says whether memory can be shared at all
    on_node = -static_cast<int>(comm::max_of(comm, -Index{probe.ranks_a_copy()}));
    grid = grid_for(comm.size(), on_node, settings, *a, *b);
    column_comm = comm.split(column());
  }

  double tables_bytes() const {
    const auto features = static_cast<double>(deal_a->features(row()).size() + deal_b->features(column()).size() * at(settings.threads));
    return features * static_cast<double>(settings.best * 32 + 8 * static_cast<Index>(settings.shifts.size()) + 64);
  }

  /// Makes room for `bytes`; false when that cannot be. The same on every rank.
  bool make_room(double bytes) {
    const auto too_much = [&] { return kept_a.bytes() + kept_b.bytes() + bytes + tables_bytes() > settings.memory; };
    while (comm::max_of(comm, Index{too_much()}) > 0)
      if (!kept_b.drop_oldest() && !kept_a.drop_oldest()) return false;
    return true;
  }

  PairRows rows(int layer_a, int layer_b) {
    PairRows rows{*a, *b, *deal_a, *deal_b, kept_a.find(layer_a), kept_b.find(layer_b)};
    const int sharing = std::min(on_node, grid->rows);
    const double needed = (rows.whole_a ? 0.0 : postings_bytes(*grid, comm.rank(), *a, *deal_a)) +
                          (rows.whole_b ? 0.0 : rows_bytes(*grid, comm.rank(), *b, *deal_b, sharing));
    if (!make_room(needed)) return {*a, *b, *deal_a, *deal_b, nullptr, nullptr};
    if (!rows.whole_a) {
      while (kept_a.drop_oldest()) {
      } // pairs come by layers of A
      rows.whole_a = std::make_shared<PostingShare>(load_postings(comm, *grid, *a, *deal_a, 0, a->rows()));
      kept_a.keep(layer_a, rows.whole_a);
    }
    if (!rows.whole_b) {
      rows.whole_b = std::make_shared<RowShare>(load_rows_on_node(comm, column_comm, *grid, *b, *deal_b));
      kept_b.keep(layer_b, rows.whole_b);
    }
    return rows;
  }
};

PairCorrelator::PairCorrelator(const comm::Communicator& comm, PearsonSettings settings)
    : state_(std::make_unique<State>(State{comm, std::move(settings), {}, 1, {}, {}, {}, nullptr, nullptr, {}, {}, {}})) {}

PairCorrelator::~PairCorrelator() = default;

void PairCorrelator::open(const FeatureSource& a, int layer_a, const FeatureSource& b, int layer_b) {
  State& s = *state_;
  s.sweep.reset();
  s.a = &a;
  s.b = &b;
  if (!s.grid) s.make_grid();
  s.deal_a.emplace(a, s.grid->rows);
  s.deal_b.emplace(b, s.grid->columns, s.settings.block);
  s.sweep.emplace(s.comm, *s.grid, s.rows(layer_a, layer_b), std::max(1.0, s.settings.memory - s.tables_bytes()), s.settings.threads);
}

PairCorrelation PairCorrelator::correlate() {
  State& s = *state_;
  std::vector<Index> shifts{0};
  shifts.insert(shifts.end(), s.settings.shifts.begin(), s.settings.shifts.end());
  const auto nulls = s.settings.shifts.size();
  Found found(*s.sweep, s.settings.best, static_cast<Index>(nulls), s.settings.threads);
  Finder finder(*s.sweep, s.a->rows(), s.settings.best, s.settings.threads, found);
  s.sweep->run(shifts, [&](int thread, Index feature, Index shift, const FeatureSums& sums) { finder.look(thread, feature, shift, sums); });
  found.merge_threads();
  const auto& names_a = s.sweep->features_a();
  const auto& names_b = s.sweep->features_b();
  const auto finders = [](int ranks) { return ranks > 1 ? Finders::several : Finders::one; };
  PairCorrelation pair{merged(s.comm, found.best_of_a, names_a, s.a->features(), s.settings.best, finders(s.grid->columns)),
                       merged(s.comm, found.best_of_b.front(), names_b, s.b->features(), s.settings.best, finders(s.grid->rows)),
                       {},
                       {}};
  for (std::size_t shift = 0; shift < nulls; ++shift) {
    const auto of = [&](const std::vector<double>& largest, const std::vector<std::int32_t>& names, Index features) {
      const auto first = largest.begin() + static_cast<Index>(shift * names.size());
      return merged_largest(s.comm, {first, first + static_cast<Index>(names.size())}, names, features);
    };
    const auto a = of(found.largest_a, names_a, s.a->features());
    const auto b = of(found.largest_b.front(), names_b, s.b->features());
    pair.null_a.insert(pair.null_a.end(), a.begin(), a.end());
    pair.null_b.insert(pair.null_b.end(), b.begin(), b.end());
  }
  return pair;
}

std::vector<Exceeding> PairCorrelator::exceeding(std::vector<double> limit_a, std::vector<double> limit_b) {
  State& s = *state_;
  comm::broadcast(s.comm, limit_a);
  comm::broadcast(s.comm, limit_b);
  const auto of_share = [](const std::vector<double>& limits, const std::vector<std::int32_t>& names) {
    std::vector<double> own;
    own.reserve(names.size());
    for (const auto name : names) own.push_back(limits[at(name)]);
    return own;
  };
  const auto own_a = of_share(limit_a, s.sweep->features_a());
  const auto own_b = of_share(limit_b, s.sweep->features_b());
  std::vector<std::uint8_t> wanted;
  wanted.reserve(own_a.size());
  for (const double limit : own_a) wanted.push_back(limit < std::numeric_limits<double>::infinity() ? 1 : 0);
  std::vector<Exceeding> found;
  std::mutex lock;
  s.sweep->run(
      {0},
      [&](int, Index feature, Index, const FeatureSums& sums) {
        for (auto j = at(sums.first); j < at(sums.last); ++j) {
          const double r = s.sweep->correlation(feature, static_cast<Index>(j), sums.of[j]);
          if (sums.of[j].cofire <= 0 || !(r > own_a[at(feature)] + own_b[j])) continue;
          const std::lock_guard guard(lock);
          found.push_back({s.sweep->features_a()[at(feature)], s.sweep->features_b()[j], std::clamp(r, -1.0, 1.0),
                           static_cast<std::int32_t>(sums.of[j].cofire)});
        }
      },
      &wanted);
  auto all = comm::gather(s.comm, found);
  std::sort(all.begin(), all.end(), [](const Exceeding& x, const Exceeding& y) { return std::pair(x.a, x.b) < std::pair(y.a, y.b); });
  return all;
}

void PairCorrelator::for_each_row(const std::function<void(std::int32_t, const std::vector<double>&)>& row) {
  State& s = *state_;
  require(s.grid->columns == 1 && s.settings.block == 0, ExitCode::internal, "whole rows of correlations need one column and one block");
  std::mutex lock;
  std::vector<double> r(at(s.b->features()));
  s.sweep->run({0}, [&](int, Index feature, Index, const FeatureSums& sums) {
    const std::lock_guard guard(lock);
    std::fill(r.begin(), r.end(), 0.0);
    for (std::size_t j = 0; j < s.sweep->features_b().size(); ++j) {
      const double value = s.sweep->correlation(feature, static_cast<Index>(j), sums.of[j]);
      r[at(s.sweep->features_b()[j])] = std::isnan(value) ? 0.0 : std::clamp(value, -1.0, 1.0);
    }
    row(s.sweep->features_a()[at(feature)], r);
  });
}

PairCorrelation best_correlations(const comm::Communicator& comm, const io::CsrMatrix& a, const io::CsrMatrix& b,
                                  const PearsonSettings& settings) {
  const MatrixSource source_a(a);
  const MatrixSource source_b(b);
  PairCorrelator correlator(comm, settings);
  correlator.open(source_a, 0, source_b, 0);
  return correlator.correlate();
}

} // namespace concord::correlate
