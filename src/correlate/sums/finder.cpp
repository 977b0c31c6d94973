#include "concord/core/at.hpp"

#include "correlate/sums/sweep.hpp"
#include <array>
#include <bit>
#include <limits>
#include <mutex>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace concord::correlate {
namespace {

/// Looks through the sums of one feature of A with a block of B's: best partners both ways, the largest r of shifted rows.
class Finder {
public:
  Finder(const Sweep& sweep, Index rows, Index best, int threads, Found& found)
      : sweep_(sweep), n_(static_cast<double>(rows)), width_(static_cast<Index>(sweep.features_b().size())), best_(best), found_(found) {
    for (int thread = 0; thread < threads; ++thread)
      own_.push_back(std::make_unique<Own>(Own{std::vector<double>(at(width_)), {}, BestTable(1, best)}));
  }

  void look(int thread, Index feature, Index shift, const FeatureSums& sums) {
    Own& own = *own_[at(thread)];
    if (sums.listed > 0) prepare_columns(own);
    if (shift == 0) {
      own.of_a.begin_anew(floor_of(feature));
      offer_listed(own, found_.best_of_b[at(thread)], feature, sums); // first: r with rare features is large, so the bound rises
      offer_front(own, found_.best_of_b[at(thread)], feature, sums);
      const auto guard = locked(feature);
      found_.best_of_a.merge(own.of_a, 0, feature);
    } else {
      const double* r = correlations(own, feature, sums);
      double* of_b = found_.largest_b[at(thread)].data() + (shift - 1) * width_;
      const double largest = std::max(largest_in_front(of_b, sums, r), largest_listed(own, of_b, feature, sums));
      double& of_a = found_.largest_a[at(shift - 1) * sweep_.features_a().size() + at(feature)];
      const auto guard = locked(feature);
      of_a = std::max(of_a, largest);
    }
  }

  /// The largest r of the feature of A, 0 at least.
  double largest(int thread, Index feature, const FeatureSums& sums) {
    Own& own = *own_[at(thread)];
    if (sums.listed > 0) prepare_columns(own);
    return std::max(largest_in_front(nullptr, sums, correlations(own, feature, sums)), largest_listed(own, nullptr, feature, sums));
  }

private:
  /// What a listed place needs of B's feature, in one piece of memory.
  struct alignas(32) Column {
    double sum, inverse;
    double floor; ///< at most the table's
  };

  static constexpr Index chunk = 512;
  /// Places of a chunk whose r reaches one of their bounds.
  struct Reaching {
    Index count = 0;
    std::array<std::int32_t, at(chunk + 8)> places; ///< room for a register behind the last
    std::array<double, at(chunk + 8)> r;
  };

  /// What a thread has for itself. Partners of the feature of A at hand come into a table of their own: those of neighbouring features,
  /// which other threads have at hand, lie in the same lines of the common one.
  struct Own {
    std::vector<double> r;
    std::vector<Column> columns; ///< made when they are first needed
    BestTable of_a;
    std::unique_ptr<Reaching> reaching = std::make_unique<Reaching>();
    std::unique_ptr<Reaching> next = std::make_unique<Reaching>();
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

  /// Chunk after chunk, whose places that reach a bound are noted first, and offered when the next ones have been noted: so nothing waits
  /// for a guess whether one does, or for the memory of the tables. Where many do, A's bound rises before they are offered.
  template <typename Note, typename Take>
  void for_each_chunk(Own& own, Index begin, Index end, Note&& note, Take&& take) {
    own.reaching->count = 0;
    for (Index first = begin; first < end; first += chunk) {
      note(first, std::min(chunk, end - first), *own.next);
      own.of_a.raise_floor(0, std::min(last_of_best({own.next->r.data(), at(own.next->count)}, best_), 1.0));
      take(*own.reaching);
      std::swap(own.reaching, own.next);
    }
    take(*own.reaching);
  }

  void offer_front(Own& own, BestTable& of_b, Index feature, const FeatureSums& sums) {
    const OfA a{sweep_.moments_a().sum[at(feature)], sweep_.moments_a().inverse[at(feature)]};
    const OfB b{sweep_.moments_b().sum.data(), sweep_.moments_b().inverse.data(), of_b.floors()};
    const auto note = [&](Index first, Index count, Reaching& reaching) {
      note_front(a, b, sums.of, first, count, own.of_a.floor(0), reaching);
      for (Index i = 0; i < reaching.count; ++i) of_b.prefetch(reaching.places[at(i)]);
    };
    for_each_chunk(own, sums.first, sums.front, note, [&](const Reaching& reaching) { offer_noted(own, of_b, feature, sums, reaching); });
  }

  /// Moments of the feature of A at hand.
  struct OfA {
    double sum, inverse;
  };
  /// Moments and bounds of B's features.
  struct OfB {
    const double* sum;
    const double* inverse;
    const double* floors;
  };

  /// Notes places [first, first + count) whose r reaches one of its floors, active together.
  void note_front(const OfA& a, const OfB& b, const Accumulator* sums, Index first, Index count, double floor, Reaching& reaching) const {
    Index j = first;
    Index noted = 0;
#ifdef __AVX512F__
    const auto steps = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const auto of_low = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
    const auto of_high = _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15);
    for (; j + 8 <= first + count; j += 8) { // pearson(), lane by lane
      const auto low = _mm512_loadu_pd(&sums[j].sum);
      const auto high = _mm512_loadu_pd(&sums[j + 4].sum);
      const auto products = _mm512_permutex2var_pd(low, of_low, high);
      const auto cofire = _mm512_permutex2var_pd(low, of_high, high);
      const auto of_sums = _mm512_mul_pd(_mm512_set1_pd(a.sum), _mm512_loadu_pd(b.sum + j));
      const auto inverses = _mm512_mul_pd(_mm512_set1_pd(a.inverse), _mm512_loadu_pd(b.inverse + j));
      const auto r = _mm512_mul_pd(_mm512_fmsub_pd(_mm512_set1_pd(n_), products, of_sums), inverses);
      const auto reaches =
          _mm512_cmp_pd_mask(r, _mm512_set1_pd(floor), _CMP_GE_OQ) | _mm512_cmp_pd_mask(r, _mm512_loadu_pd(b.floors + j), _CMP_GE_OQ);
      const auto hit = static_cast<__mmask8>(reaches & _mm512_cmp_pd_mask(cofire, _mm512_setzero_pd(), _CMP_GT_OQ));
      if (hit == 0) continue;
      _mm512_storeu_pd(reaching.r.data() + noted, _mm512_maskz_compress_pd(hit, r));
      const auto places = _mm256_add_epi32(_mm256_set1_epi32(static_cast<int>(j)), steps);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(reaching.places.data() + noted), _mm256_maskz_compress_epi32(hit, places));
      noted += std::popcount(static_cast<unsigned>(hit));
    }
#endif
    for (; j < first + count; ++j) {
      const double r = pearson(n_, sums[j].sum, a.sum, a.inverse, b.sum[j], b.inverse[j]);
      reaching.places[at(noted)] = static_cast<std::int32_t>(j);
      reaching.r[at(noted)] = r;
      noted += static_cast<Index>(r >= std::min(floor, b.floors[j])) & static_cast<Index>(sums[j].cofire > 0);
    }
    reaching.count = noted;
  }

  void offer_listed(Own& own, BestTable& of_b, Index feature, const FeatureSums& sums) {
    const OfA a{sweep_.moments_a().sum[at(feature)], sweep_.moments_a().inverse[at(feature)]};
    const auto note = [&](Index first, Index count, Reaching& reaching) {
      note_listed(a, own, sums, first, count, reaching);
      for (Index i = 0; i < reaching.count; ++i) of_b.prefetch(reaching.places[at(i)]);
    };
    for_each_chunk(own, 0, sums.listed, note, [&](const Reaching& reaching) {
      offer_noted(own, of_b, feature, sums, reaching);
      for (Index i = 0; i < reaching.count; ++i) own.columns[at(reaching.places[at(i)])].floor = of_b.floor(reaching.places[at(i)]);
    });
  }

  /// The same of listed places [first, first + count).
  void note_listed(const OfA& a, const Own& own, const FeatureSums& sums, Index first, Index count, Reaching& reaching) const {
    const double floor = own.of_a.floor(0);
    Index noted = 0;
    for (Index i = first; i < first + count; ++i) {
      const std::int32_t j = (*sums.places)[at(i)];
      const Column& column = own.columns[at(j)];
      const double r = pearson(n_, sums.of[j].sum, a.sum, a.inverse, column.sum, column.inverse);
      reaching.places[at(noted)] = j;
      reaching.r[at(noted)] = r;
      noted += static_cast<Index>(r >= std::min(floor, column.floor));
    }
    reaching.count = noted;
  }

  void offer_noted(Own& own, BestTable& of_b, Index feature, const FeatureSums& sums, const Reaching& reaching) {
    for (Index i = 0; i < reaching.count; ++i) {
      const Index j = reaching.places[at(i)];
      offer_pair(own, of_b, feature, j, sums.of[j], reaching.r[at(i)]);
    }
  }

  void offer_pair(Own& own, BestTable& of_b, Index feature, Index j, const Accumulator& sums, double value) {
    const double r = std::clamp(value, -1.0, 1.0);
    const auto cofire = static_cast<std::int32_t>(sums.cofire);
    if (r >= own.of_a.floor(0)) own.of_a.offer(0, {r, sweep_.features_b()[at(j)], cofire});
    if (r >= of_b.floor(j)) of_b.offer(j, {r, sweep_.features_a()[at(feature)], cofire});
  }

  /// At most 1; NaN is no r.
  static double clamped(double r) {
    return r < 1.0 ? r : (r >= 1.0 ? 1.0 : 0.0);
  }

  /// The largest r, 0 at least; where they are asked for, each feature of B takes note of its own.
  static double largest_in_front(double* of_b, const FeatureSums& sums, const double* r) {
    double largest = 0;
#pragma omp simd reduction(max : largest)
    for (Index j = sums.first; j < sums.front; ++j) largest = std::max(largest, clamped(r[j]));
    if (of_b == nullptr) return largest;
#pragma omp simd
    for (Index j = sums.first; j < sums.front; ++j) of_b[j] = std::max(of_b[j], clamped(r[j]));
    return largest;
  }

  double largest_listed(const Own& own, double* of_b, Index feature, const FeatureSums& sums) const {
    const OfA a{sweep_.moments_a().sum[at(feature)], sweep_.moments_a().inverse[at(feature)]};
    double largest = 0;
    for (Index i = 0; i < sums.listed; ++i) {
      const std::int32_t j = (*sums.places)[at(i)];
      const Column& column = own.columns[at(j)];
      const double r = pearson(n_, sums.of[j].sum, a.sum, a.inverse, column.sum, column.inverse);
      largest = std::max(largest, clamped(r));
      if (of_b != nullptr) of_b[j] = std::max(of_b[j], clamped(r));
    }
    return largest;
  }

  void prepare_columns(Own& own) const {
    if (!own.columns.empty() || width_ == 0) return;
    for (std::size_t j = 0; j < at(width_); ++j)
      own.columns.push_back({sweep_.moments_b().sum[j], sweep_.moments_b().inverse[j], -std::numeric_limits<double>::infinity()});
  }

  /// Blocks of a feature of A may be at hand in several threads.
  std::unique_lock<std::mutex> locked(Index feature) {
    auto& lock = locks_[at(feature) % locks_.size()];
    return own_.size() > 1 ? std::unique_lock(lock) : std::unique_lock<std::mutex>();
  }
  double floor_of(Index feature) {
    const auto guard = locked(feature);
    return found_.best_of_a.floor(feature);
  }

  const Sweep& sweep_;
  double n_;
  Index width_;
  Index best_;
  std::vector<std::unique_ptr<Own>> own_; ///< of each thread
  std::array<std::mutex, 64> locks_;
  Found& found_;
};

} // namespace

/// Sums of pieces hang on their order, so moments are those of rows in theirs.
void Sweep::take_moments() {
  if (rows_.whole_a || have_moments_) return;
  const std::vector<Wanted> nothing{Wanted(names_a_.size(), 0)};
  run(
      {0}, [](int, Index, Index, const FeatureSums&) {}, &nothing);
}

void Sweep::find_best(const std::vector<Index>& shifts, Index best, Found& found) {
  if (shifts.front() != 0) take_moments();
  Finder finder(*this, rows_.a.rows(), best, threads_, found);
  run(shifts, [&](int thread, Index feature, Index shift, const FeatureSums& sums) { finder.look(thread, feature, shift, sums); });
  found.merge_threads();
}

std::vector<double> Sweep::find_largest(const std::vector<Index>& shifts, const std::vector<Wanted>& wanted) {
  take_moments();
  Found none(0, 0, 1, 0, threads_);
  Finder finder(*this, rows_.a.rows(), 1, threads_, none);
  std::vector<double> largest(shifts.size() * names_a_.size(), 0.0);
  std::mutex lock;
  const auto look = [&](int thread, Index feature, Index shift, const FeatureSums& sums) {
    const double here = finder.largest(thread, feature, sums);
    double& of_feature = largest[at(shift) * names_a_.size() + at(feature)];
    const std::lock_guard guard(lock);
    of_feature = std::max(of_feature, here);
  };
  run(shifts, look, &wanted);
  return largest;
}

std::vector<Exceeding> Sweep::find_exceeding(const std::vector<double>& limit_a, const std::vector<double>& limit_b, const Wanted& wanted) {
  std::vector<Exceeding> found;
  std::mutex lock;
  const auto look = [&](int, Index feature, Index, const FeatureSums& sums) {
    for (Index j = sums.first; j < sums.last; ++j) {
      const double r = std::clamp(correlation(feature, j, sums.of[j]), -1.0, 1.0);
      if (sums.of[j].cofire <= 0 || !(r > limit_a[at(feature)] + limit_b[at(j)])) continue;
      const std::lock_guard guard(lock);
      found.push_back({names_a_[at(feature)], names_b_[at(j)], r, static_cast<std::int32_t>(sums.of[j].cofire)});
    }
  };
  const std::vector<Wanted> of_shift{wanted};
  run({0}, look, &of_shift);
  return found;
}

void Sweep::for_each_sums(const std::function<void(Index, const Accumulator*)>& visit) {
  const auto all = items(1, nullptr);
  if (rows_.whole_a) {
    std::vector<Accumulator> sums;
    for (const Item& item : all) {
      if (stop_.wanted_here()) break;
      sums.assign(at(item.places * size_b()), {0, 0});
      for (std::size_t block = 0; block < rows_.whole_b->share.blocks.size(); ++block)
        add(item, rows_.whole_a->share, rows_.whole_b->share, block, 0, sums.data(), 0);
      for (Index f = 0; f < item.features; ++f) visit(item.first + f, sums.data() + f * size_b());
    }
    stop_.throw_if_wanted(comm_, "correlate");
    return;
  }
  std::mutex lock;
  run_pieces(all, {0}, [&](int, Index feature, Index, const FeatureSums& sums) {
    const std::lock_guard guard(lock);
    visit(feature, sums.of);
  });
}

} // namespace concord::correlate
