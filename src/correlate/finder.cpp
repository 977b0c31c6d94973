#include "sweep.hpp"
#include <array>
#include <bit>
#include <limits>
#include <mutex>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace concord::correlate {
namespace {

std::size_t at(Index i) {
  return static_cast<std::size_t>(i);
}

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
    if (sums.listed > 0) prepare_columns(own);
    if (shift == 0) {
      own.of_a.begin_anew(floor_of(feature));
      offer(own, found_.best_of_b[at(thread)], feature, sums);
      offer_listed(own, found_.best_of_b[at(thread)], feature, sums);
      const std::lock_guard guard(lock_of(feature));
      found_.best_of_a.merge(own.of_a, 0, feature);
    } else {
      const double* r = correlations(own, feature, sums);
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

  void offer(Own& own, BestTable& of_b, Index feature, const FeatureSums& sums) {
    const OfA a{sweep_.moments_a().sum[at(feature)], sweep_.moments_a().inverse[at(feature)]};
    alignas(64) std::array<double, group> r;
    for (Index first = sums.first; first < sums.front; first += group) {
      const Index count = std::min(group, sums.front - first);
      unsigned hits = candidates(a, sums.of + first, first, count, of_b.floors() + first, own.of_a.floor(0), r);
      for (unsigned hit = hits; hit != 0; hit &= hit - 1) of_b.prefetch(first + std::countr_zero(hit));
      for (; hits != 0; hits &= hits - 1) {
        const auto i = std::countr_zero(hits);
        offer_pair(own, of_b, feature, first + i, sums.of[first + i], r[at(i)]);
      }
    }
  }

  /// Moments of the feature of A at hand.
  struct OfA {
    double sum, inverse;
  };
  /// Places that are looked at together.
  static constexpr Index group = 8;

  /// Bit i is set where r with B's feature at place j + i reaches one of its floors, and they are active together.
  unsigned candidates(const OfA& a, const Accumulator* sums, Index j, Index count, const double* floors, double floor,
                      std::array<double, group>& r) const {
    const double* sum_b = sweep_.moments_b().sum.data() + j;
    const double* inverse_b = sweep_.moments_b().inverse.data() + j;
#ifdef __AVX512F__
    if (count == group) { // pearson(), lane by lane
      const auto low = _mm512_loadu_pd(&sums[0].sum);
      const auto high = _mm512_loadu_pd(&sums[group / 2].sum);
      const auto products = _mm512_permutex2var_pd(low, _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14), high);
      const auto cofire = _mm512_permutex2var_pd(low, _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15), high);
      const auto of_sums = _mm512_mul_pd(_mm512_set1_pd(a.sum), _mm512_loadu_pd(sum_b));
      const auto inverses = _mm512_mul_pd(_mm512_set1_pd(a.inverse), _mm512_loadu_pd(inverse_b));
      const auto x = _mm512_mul_pd(_mm512_fmsub_pd(_mm512_set1_pd(n_), products, of_sums), inverses);
      _mm512_store_pd(r.data(), x);
      const auto reached =
          _mm512_cmp_pd_mask(x, _mm512_set1_pd(floor), _CMP_GE_OQ) | _mm512_cmp_pd_mask(x, _mm512_loadu_pd(floors), _CMP_GE_OQ);
      return static_cast<unsigned>(reached) & _mm512_cmp_pd_mask(cofire, _mm512_setzero_pd(), _CMP_GT_OQ);
    }
#endif
    unsigned hits = 0;
    for (Index i = 0; i < count; ++i) {
      r[at(i)] = pearson(n_, sums[i].sum, a.sum, a.inverse, sum_b[i], inverse_b[i]);
      const bool hit = (r[at(i)] >= floor || r[at(i)] >= floors[i]) && sums[i].cofire > 0;
      hits |= static_cast<unsigned>(hit) << static_cast<unsigned>(i);
    }
    return hits;
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

void Sweep::find_best(const std::vector<Index>& shifts, Index best, Found& found) {
  Finder finder(*this, rows_.a.rows(), best, threads_, found);
  run(shifts, [&](int thread, Index feature, Index shift, const FeatureSums& sums) { finder.look(thread, feature, shift, sums); });
  found.merge_threads();
}

std::vector<Exceeding> Sweep::find_exceeding(const std::vector<double>& limit_a, const std::vector<double>& limit_b,
                                             const std::vector<std::uint8_t>& wanted) {
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
  run({0}, look, &wanted);
  return found;
}

void Sweep::for_each_sums(const std::function<void(Index, const Accumulator*)>& visit) {
  std::mutex lock;
  run({0}, [&](int, Index feature, Index, const FeatureSums& sums) {
    require(sums.first == 0 && sums.last == size_b(), ExitCode::internal, "the sums with all features need one block");
    const std::lock_guard guard(lock);
    visit(feature, sums.of);
  });
}

} // namespace concord::correlate
