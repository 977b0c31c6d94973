#include "concord/comm/gpu/gpu.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/philox.hpp"

#include "correlate/kept.hpp"
#include "correlate/pair_correlator.hpp"
#include "support/support.hpp"
#include <algorithm>
#include <cmath>
#include <csignal>
#include <map>
#include <memory>
#include <numeric>
#include <set>

namespace concord::correlate {
namespace {

using test::world;

/// A random sparse matrix; column 0 is dead, column 1 constant, column 2 fires on every row with varying values.
io::CsrMatrix random_csr(std::uint64_t seed, Index rows, Index cols, double density) {
  const Philox random(seed, "csr");
  io::CsrMatrix m{rows, cols, {0}, {}, {}};
  for (Index r = 0; r < rows; ++r) {
    for (Index c = 1; c < cols; ++c) {
      const auto at = static_cast<std::uint64_t>(r * cols + c);
      if (c > 2 && random.uniform(2 * at) > density) continue;
      m.indices.push_back(static_cast<std::int32_t>(c));
      m.values.push_back(c == 1 ? 2.5F : static_cast<float>(std::exp(random.normal(2 * at + 1))));
    }
    m.indptr.push_back(m.nnz());
  }
  return m;
}

std::vector<double> dense(const io::CsrMatrix& m, Index column) {
  std::vector<double> x(static_cast<std::size_t>(m.rows), 0.0);
  for (Index r = 0; r < m.rows; ++r)
    for (Index e = m.indptr[static_cast<std::size_t>(r)]; e < m.indptr[static_cast<std::size_t>(r) + 1]; ++e)
      if (m.indices[static_cast<std::size_t>(e)] == column) x[static_cast<std::size_t>(r)] = m.values[static_cast<std::size_t>(e)];
  return x;
}

/// The definition, on densified columns with means removed first; NaN without variance.
double plain_pearson(const std::vector<double>& x, const std::vector<double>& y) {
  double mx = 0;
  double my = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    mx += x[i] / static_cast<double>(x.size());
    my += y[i] / static_cast<double>(x.size());
  }
  double xy = 0;
  double xx = 0;
  double yy = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    xy += (x[i] - mx) * (y[i] - my);
    xx += (x[i] - mx) * (x[i] - mx);
    yy += (y[i] - my) * (y[i] - my);
  }
  return xx < 1e-20 || yy < 1e-20 ? std::nan("") : xy / std::sqrt(xx * yy);
}

struct Expected {
  double r;
  std::int32_t partner;
  Index cofire;
};

std::vector<double> rotated(std::vector<double> x, Index shift) {
  std::rotate(x.begin(), x.begin() + shift, x.end());
  return x;
}

/// Partners of a column by the definition, best first; those it is never active with are none.
std::vector<Expected> plain_best(const io::CsrMatrix& of, const io::CsrMatrix& among, Index column, Index shift_of, Index shift_among) {
  const auto x = rotated(dense(of, column), shift_of);
  std::vector<Expected> all;
  for (Index j = 0; j < among.cols; ++j) {
    const auto y = rotated(dense(among, j), shift_among);
    Index cofire = 0;
    for (std::size_t t = 0; t < x.size(); ++t) cofire += x[t] != 0 && y[t] != 0 ? 1 : 0;
    const double r = plain_pearson(x, y);
    if (!std::isnan(r) && cofire > 0) all.push_back({r, static_cast<std::int32_t>(j), cofire});
  }
  std::stable_sort(all.begin(), all.end(), [](const Expected& a, const Expected& b) { return a.r > b.r; });
  return all;
}

void expect_equal(const BestPartners& got, const std::vector<Expected>& expected, Index feature) {
  for (Index p = 0; p < got.places; ++p) {
    const auto at = static_cast<std::size_t>(feature * got.places + p);
    if (p >= static_cast<Index>(expected.size())) {
      EXPECT_EQ(got.partner[at], -1);
      continue;
    }
    EXPECT_NEAR(got.r[at], expected[static_cast<std::size_t>(p)].r, 1e-12) << "feature " << feature << " place " << p;
    EXPECT_EQ(got.partner[at], expected[static_cast<std::size_t>(p)].partner) << "feature " << feature << " place " << p;
    EXPECT_EQ(got.cofire[at], expected[static_cast<std::size_t>(p)].cofire);
  }
}

PearsonSettings settings(Index best, std::vector<Index> shifts = {}) {
  PearsonSettings s;
  s.best = best;
  s.shifts = std::move(shifts);
  return s;
}

/// A GPU's kernels, and the GPU where there is one; with all in one chunk, in several, or in pieces of `piece` bytes. On several ranks
/// small blocks go with little memory: each with each is what one rank does.
std::vector<PearsonSettings> on_gpus(PearsonSettings s, const std::vector<double>& memories = {1e9, 2e5, 20000.0, 1.0},
                                     double piece = 40000.0) {
  std::vector<PearsonSettings> all;
  const auto gpu = comm::bind_gpu(world(), Device::automatic, true);
  s.threads = 1;
  for (const auto by : {SumsBy::emulated_gpu, SumsBy::gpu}) {
    if (by == SumsBy::gpu && gpu.number < 0) continue;
    s.sums_by = by;
    s.gpu = gpu.number;
    for (const int columns : std::set{1, world().size()})
      for (const double memory : {1e9, piece})
        for (const double gpu_memory : memories)
          for (const Index block : {Index{7}, Index{1} << 14}) {
            if (world().size() > 1 && (block == 7) != (memory < 1e9)) continue;
            s.grid_columns = columns;
            s.memory = memory;
            s.gpu_memory = gpu_memory;
            s.block = block;
            all.push_back(s);
          }
  }
  return all;
}

/// Grids, pieces, blocks, threads and GPUs that must all give the same bits.
std::vector<PearsonSettings> ways(PearsonSettings s, double piece = 40000.0) {
  std::vector<PearsonSettings> all;
  for (int columns = 1; columns <= world().size(); ++columns)
    if (world().size() % columns == 0)
      for (const double memory : {1e9, 1.0, piece}) // whole; row by row and strip by strip; in a few pieces
        for (const int threads : {1, 3}) {
          s.grid_columns = columns;
          s.memory = memory;
          s.threads = threads;
          s.block = threads == 3 ? 7 : 1 << 14;
          all.push_back(s);
        }
  for (const auto& way : on_gpus(s, {1e9, 2e5, 20000.0, 1.0}, piece)) all.push_back(way);
  return all;
}

void expect_same_bits(const PairCorrelation& x, const PairCorrelation& y) {
  for (const auto& [p, q] : {std::pair{&x.a_to_b, &y.a_to_b}, {&x.b_to_a, &y.b_to_a}}) {
    EXPECT_EQ(p->r, q->r);
    EXPECT_EQ(p->partner, q->partner);
    EXPECT_EQ(p->cofire, q->cofire);
  }
  EXPECT_EQ(x.null_a, y.null_a);
  EXPECT_EQ(x.null_b, y.null_b);
  for (const auto& [p, q] : {std::pair{&x.sample_a, &y.sample_a}, {&x.sample_b, &y.sample_b}}) {
    EXPECT_EQ(p->feature, q->feature);
    EXPECT_EQ(p->shift, q->shift);
    EXPECT_EQ(p->weight, q->weight);
  }
}

TEST(Pearson, EqualsThePlainDefinitionOnDensifiedColumns) {
  // Densities around that beyond which a feature is dense, on both sides.
  const auto a = random_csr(1, 300, 23, 0.09);
  const auto b = random_csr(2, 300, 31, 0.11);
  const std::vector<Index> shifts{1, 150, 299};
  const auto pair = best_correlations(world(), a, b, settings(5, shifts));
  if (world().rank() != 0) return;
  for (Index i = 0; i < a.cols; ++i) expect_equal(pair.a_to_b, plain_best(a, b, i, 0, 0), i);
  for (Index j = 0; j < b.cols; ++j) expect_equal(pair.b_to_a, plain_best(b, a, j, 0, 0), j);
  const auto largest = [](const std::vector<Expected>& best) { return best.empty() ? 0.0 : std::max(0.0, best.front().r); };
  for (std::size_t s = 0; s < shifts.size(); ++s) {
    for (Index i = 0; i < a.cols; ++i)
      EXPECT_NEAR(pair.null_a[s * 23 + static_cast<std::size_t>(i)], largest(plain_best(a, b, i, 0, shifts[s])), 1e-12);
    for (Index j = 0; j < b.cols; ++j)
      EXPECT_NEAR(pair.null_b[s * 31 + static_cast<std::size_t>(j)], largest(plain_best(b, a, j, shifts[s], 0)), 1e-12);
  }
}

TEST(Pearson, SameBitsAtAnyRanksGridPiecesAndThreads) {
  const auto a = random_csr(1, 130, 40, 0.1);
  const auto b = random_csr(2, 130, 50, 0.1);
  const auto alone = best_correlations(world().split(world().rank()), a, b, settings(4, {30, 97}));
  for (const auto& way : ways(settings(4, {30, 97}), 30000.0)) {
    const auto pair = best_correlations(world(), a, b, way);
    if (world().rank() == 0) expect_same_bits(pair, alone);
  }
}

TEST(Pearson, OfShiftedRowsHasTheSameBitsAtAnyRanksGridPiecesAndThreads) {
  const auto a = random_csr(1, 130, 12, 0.1);
  const auto b = random_csr(2, 130, 14, 0.6); // dense columns, whose moments are sums that round
  auto s = settings(3);
  s.shift = 41;
  const auto alone = best_correlations(world().split(world().rank()), a, b, s);
  for (const auto& way : ways(s, 30000.0)) {
    const auto pair = best_correlations(world(), a, b, way);
    if (world().rank() == 0) expect_same_bits(pair, alone);
  }
}

/// Each value of a sample is what a pass over all features gives that feature at that shift; of B up to the order of sums.
TEST(Pearson, ASampledNullIsAPartOfTheWholeOne) {
  const auto a = random_csr(1, 300, 60, 0.09); // so few are drawn that most are not
  const auto b = random_csr(2, 300, 75, 0.11);
  auto s = settings(5, {1, 150, 299});
  const auto whole = best_correlations(world(), a, b, s);
  s.null_features = 12;
  s.null_values = 1;
  const auto pair = best_correlations(world(), a, b, s);
  s.null_features = 16; // more than a quarter of A
  const auto of_all = best_correlations(world(), a, b, s);
  if (world().rank() != 0) return;
  expect_same_bits(of_all, whole);
  EXPECT_TRUE(whole.sample_a.feature.empty());
  EXPECT_EQ(pair.a_to_b.r, whole.a_to_b.r);
  EXPECT_EQ(pair.b_to_a.r, whole.b_to_a.r);
  ASSERT_EQ(pair.null_a.size(), pair.sample_a.feature.size());
  ASSERT_EQ(pair.null_b.size(), pair.sample_b.feature.size());
  EXPECT_GT(pair.null_a.size(), 30U);
  EXPECT_GT(pair.null_b.size(), 30U);
  EXPECT_GT(*std::max_element(pair.null_b.begin(), pair.null_b.end()), 0.1);
  const auto place = [](const NullSample& sample, std::size_t k, Index features) {
    return static_cast<std::size_t>(sample.shift[k] * features + sample.feature[k]);
  };
  for (std::size_t k = 0; k < pair.null_a.size(); ++k) EXPECT_EQ(pair.null_a[k], whole.null_a[place(pair.sample_a, k, a.cols)]);
  for (std::size_t k = 0; k < pair.null_b.size(); ++k) EXPECT_NEAR(pair.null_b[k], whole.null_b[place(pair.sample_b, k, b.cols)], 1e-12);
}

TEST(Pearson, ASampledNullHasTheSameBitsAtAnyRanksGridPiecesAndThreads) {
  const auto a = random_csr(1, 130, 40, 0.1);
  const auto b = random_csr(2, 130, 50, 0.1);
  auto s = settings(4, {30, 97});
  s.null_features = 9;
  s.null_values = 1;
  s.seed = 5;
  const auto alone = best_correlations(world().split(world().rank()), a, b, s);
  for (const auto& way : ways(s, 30000.0)) {
    const auto pair = best_correlations(world(), a, b, way);
    if (world().rank() == 0) expect_same_bits(pair, alone);
  }
}

/// Pair after pair, in whose order layers are kept or read again.
TEST(Pearson, ASampledNullOfManyPairsIsThatOfEach) {
  const MatrixSource a[2] = {MatrixSource(random_csr(1, 90, 40, 0.1)), MatrixSource(random_csr(2, 90, 45, 0.1))};
  const MatrixSource b[2] = {MatrixSource(random_csr(3, 90, 50, 0.1)), MatrixSource(random_csr(4, 90, 36, 0.1))};
  auto s = settings(3, {30});
  s.null_features = 8;
  s.null_values = 1;
  for (const double memory : {1e9, 30000.0}) {
    s.memory = memory;
    PairCorrelator all(world(), s);
    for (int i = 0; i < 2; ++i)
      for (int j = 0; j < 2; ++j) {
        all.open(a[i], i, b[j], j);
        const auto pair = all.correlate();
        PairCorrelator one(world(), s);
        one.open(a[i], i, b[j], j);
        const auto expected = one.correlate();
        if (world().rank() == 0) expect_same_bits(pair, expected);
      }
  }
}

TEST(NullSample, IsDrawnOfAllLiveFeaturesByTheirRate) {
  const Index features = 600, wanted = 50, shifts = 4, draws = 200;
  const MatrixSource source(random_csr(41, 400, features, 0.06)); // 0 is dead, 1 and 2 are dense
  const auto& count = source.totals().count;
  std::vector<Index> drawn(static_cast<std::size_t>(features), 0);
  double weight = 0;
  for (std::uint64_t seed = 0; seed < static_cast<std::uint64_t>(draws); ++seed) {
    const auto sample = null_sample(source, wanted, shifts, Philox(seed, "test"));
    std::set<std::pair<std::int32_t, std::int32_t>> values;
    std::vector<Index> at_shift(static_cast<std::size_t>(shifts), 0);
    for (std::size_t k = 0; k < sample.feature.size(); ++k) {
      values.emplace(sample.feature[k], sample.shift[k]);
      ++at_shift[static_cast<std::size_t>(sample.shift[k])];
      ++drawn[static_cast<std::size_t>(sample.feature[k])];
      weight += sample.weight[k] / static_cast<double>(draws);
    }
    EXPECT_EQ(values.size(), sample.feature.size()); // none twice at a shift
    EXPECT_LE(sample.size(), wanted * shifts);
    EXPECT_GE(sample.size(), wanted * shifts * 9 / 10);
    for (const Index n : at_shift) EXPECT_NEAR(static_cast<double>(n), wanted, 6);
  }
  EXPECT_EQ(drawn[0], 0);
  EXPECT_NEAR(weight, features - 1, 0.01 * features); // together they stand for all
  double rare = 0, frequent = 0;
  for (std::size_t f = 3; f < drawn.size(); ++f) {
    EXPECT_GT(drawn[f], 0) << f;
    (count[f] < 24 ? rare : frequent) += static_cast<double>(drawn[f]);
  }
  EXPECT_GT(rare, frequent * 0.8);
}

/// Features of which the counts alone are known.
class CountsSource final : public FeatureSource {
public:
  CountsSource(std::vector<Index> counts, Index rows) : rows_(rows) {
    totals_.sum.assign(counts.size(), 1.0);
    totals_.count = std::move(counts);
  }
  Index rows() const override { return rows_; }
  using FeatureSource::entries;
  Index entries(Index, Index) const override { return 0; }
  io::CsrMatrix read(Index, Index) const override { return {}; }

private:
  Index rows_;
};

/// Some features on 990, 989, ... of 1,000 rows; 2,000 others on 99, 98, ... and again.
std::vector<Index> counts_with_dense(Index dense) {
  std::vector<Index> counts;
  for (Index f = 0; f < dense; ++f) counts.push_back(990 - f);
  for (Index f = 0; f < 2000; ++f) counts.push_back(99 - f % 90);
  return counts;
}

/// Dense features are summed up four at a time: a strip is at each shift drawn whole or not at all. All are drawn up to 256, which stand
/// for all of them exactly; few ones at several shifts.
TEST(NullSample, TakesDenseFeaturesByStrips) {
  constexpr Index shifts = 4, others = 2000;
  for (const Index dense : {1, 16, 66, 200, 256, 500}) {
    const auto sample = null_sample(CountsSource(counts_with_dense(dense), 1000), 512, shifts, Philox(7, "test"));
    EXPECT_EQ(sample.dense, 100.0);
    std::map<std::pair<Index, Index>, Index> drawn; // of a strip at a shift
    std::set<std::int32_t> features;
    double of_dense = 0, of_others = 0;
    for (std::size_t k = 0; k < sample.feature.size(); ++k) {
      if (sample.feature[k] >= dense) {
        of_others += sample.weight[k];
        continue;
      }
      ++drawn[{sample.feature[k] / strip_a, sample.shift[k]}];
      features.insert(sample.feature[k]);
      of_dense += sample.weight[k];
    }
    for (const auto& [strip, times] : drawn) EXPECT_EQ(times, std::min(strip_a, dense - strip.first * strip_a)) << dense;
    if (dense <= 256) {
      EXPECT_EQ(static_cast<Index>(features.size()), dense);
      EXPECT_EQ(static_cast<Index>(drawn.size()), std::clamp<Index>((dense + 3) / 4, 4, 64)) << dense;
    } else { // 64 strips, or as many as their share of the work says
      EXPECT_GE(static_cast<Index>(features.size()), 256) << dense;
    }
    EXPECT_NEAR(of_dense, static_cast<double>(dense), 1e-9) << dense;
    EXPECT_NEAR(of_others, others, 0.02 * others) << dense;
    EXPECT_GE(sample.size(), 512 * shifts * 9 / 10);
    EXPECT_LE(sample.size(), 512 * shifts);
  }
}

/// Half of the values are left to other features as far as these have so many.
TEST(NullSample, OfDenseFeaturesAloneTakesAsManyAsAreAskedFor) {
  auto counts = counts_with_dense(890);
  counts.resize(891);
  const auto sample = null_sample(CountsSource(counts, 1000), 300, 1, Philox(7, "test"));
  EXPECT_GE(sample.size(), 290);
  EXPECT_EQ(sample.feature.back(), 890);
}

/// Where more values are asked for than features have at all shifts, all are taken, and together they stand for all.
TEST(NullSample, OfMoreThanThereIsStandsForAll) {
  const std::vector<Index> counts(50, 20);
  const auto sample = null_sample(CountsSource(counts, 1000), 100, 4, Philox(3, "test"));
  EXPECT_EQ(sample.size(), 200);
  EXPECT_NEAR(std::accumulate(sample.weight.begin(), sample.weight.end(), 0.0), 50, 1e-9);
}

/// No sample where it would save little or say too little.
TEST(NullSize, IsAllWhereASampleSaysTooLittle) {
  EXPECT_EQ(null_features(16384, 512, 4), 512);
  EXPECT_EQ(null_features(131072, 512, 4), 4096);
  EXPECT_EQ(null_features(2048, 512, 4), 2048);
  EXPECT_EQ(null_features(16384, 0, 4), 16384);
  EXPECT_EQ(null_features(1000, 63, 4), 1000);
  EXPECT_EQ(null_features(1000, 64, 4), 64);
  EXPECT_FALSE(samples_null(1000, 250, 64, 4));
  const auto a = random_csr(1, 60, 40, 0.1), b = random_csr(2, 60, 40, 0.1);
  auto s = settings(2, {20, 40});
  const auto whole = best_correlations(world(), a, b, s);
  s.null_features = 2;
  expect_same_bits(best_correlations(world(), a, b, s), whole);
}

/// However many features are dense, each side has a null, and of dense and of other features.
TEST(NullSample, IsNeverEmptyWhereFeaturesFire) {
  for (const double rate : {0.02, 0.12, 0.5}) {
    const auto a = random_csr(43, 200, 300, rate), b = random_csr(44, 200, 300, rate);
    auto s = settings(2, {50, 100});
    s.null_features = 5;
    s.null_values = 1;
    const auto pair = best_correlations(world(), a, b, s);
    if (world().rank() != 0) continue;
    EXPECT_GT(pair.null_a.size(), 10U) << rate;
    EXPECT_GT(pair.null_b.size(), 10U) << rate;
  }
}

/// What is looked up for the pair at hand is not dropped, so that it goes on to be counted.
TEST(Kept, DropsWhatNobodyHolds) {
  struct Held {
    struct {
      double held;
    } share;
  };
  Kept<Held> kept;
  for (int layer = 0; layer < 3; ++layer) kept.keep(layer, std::make_shared<Held>(Held{{1.0 + layer}}));
  {
    const auto oldest = kept.find(0);
    const auto held = kept.find(1);
    EXPECT_TRUE(kept.drop_oldest());
    EXPECT_EQ(kept.find(2), nullptr);
    EXPECT_FALSE(kept.drop_oldest());
    EXPECT_EQ(kept.bytes(), 3);
  }
  EXPECT_TRUE(kept.drop_oldest());
  EXPECT_EQ(kept.find(0), nullptr); // it was used before the other
  EXPECT_EQ(kept.bytes(), 2);
}

TEST(NullSample, OfFewFeaturesTakesWhatThereIs) {
  const io::CsrMatrix one{4, 3, {0, 1, 1, 2, 2}, {1, 1}, {1, 2}};
  const auto sample = null_sample(MatrixSource(one), 2, 3, Philox(1, "test"));
  for (const auto feature : sample.feature) EXPECT_EQ(feature, 1);
  EXPECT_GE(sample.size(), 1);
  const io::CsrMatrix none{4, 3, {0, 0, 0, 0, 0}, {}, {}};
  EXPECT_EQ(null_sample(MatrixSource(none), 2, 3, Philox(1, "test")).size(), 0);
  auto s = settings(2, {1});
  s.null_features = 2;
  s.null_values = 1;
  EXPECT_NO_THROW(best_correlations(world(), none, one, s));
}

/// Every living feature belongs to one part, dense ones by whole strips in front, and no part has more to do than its share and the largest
/// piece of work.
TEST(Deal, PartsHaveLikeSharesOfTheWork) {
  const MatrixSource source(random_csr(15, 600, 90, 0.11));
  const auto& count = source.totals().count;
  for (const int parts : {1, 2, 5, 16}) {
    const Deal deal(source, parts, dense_work_a, 7);
    std::vector<int> seen(count.size(), 0);
    double all = 0;
    double most = 0;
    double largest = 0;
    for (int part = 0; part < parts; ++part) {
      const auto& features = deal.features(part);
      double work = static_cast<double>((deal.dense(part) + strip_a - 1) / strip_a) * 600;
      if (deal.dense(part) > 0) largest = 600;
      for (std::size_t i = 0; i < features.size(); ++i) {
        const auto feature = static_cast<std::size_t>(features[i]);
        ++seen[feature];
        const bool dense = static_cast<double>(count[feature]) > dense_above * 600;
        EXPECT_EQ(dense, static_cast<Index>(i) < deal.dense(part));
        if (dense) continue;
        work += static_cast<double>(count[feature]);
        largest = std::max(largest, static_cast<double>(count[feature]));
      }
      EXPECT_EQ(deal.block_ends(part).back(), static_cast<Index>(features.size()));
      all += work;
      most = std::max(most, work);
    }
    for (std::size_t j = 0; j < seen.size(); ++j) EXPECT_EQ(seen[j], count[j] > 0 ? 1 : 0);
    EXPECT_LE(most, all / parts + largest);
  }
}

TEST(Pearson, TransposedInputsGiveTheTransposedResult) {
  const auto a = random_csr(3, 400, 30, 0.06);
  const auto b = random_csr(4, 400, 35, 0.06);
  const auto pair = best_correlations(world(), a, b, settings(6));
  const auto turned = best_correlations(world(), b, a, settings(6));
  EXPECT_EQ(pair.a_to_b.partner, turned.b_to_a.partner);
  for (std::size_t i = 0; i < pair.a_to_b.r.size(); ++i) EXPECT_NEAR(pair.a_to_b.r[i], turned.b_to_a.r[i], 1e-15);
}

/// A feature that is always on at a mean of a thousand standard deviations: sums without a pilot would lose half of the digits.
TEST(Pearson, AlwaysOnFeaturesKeepTheirDigits) {
  const Philox random(9, "on");
  io::CsrMatrix a{2000, 2, {0}, {}, {}};
  io::CsrMatrix b{2000, 2, {0}, {}, {}};
  for (std::uint64_t r = 0; r < 2000; ++r) {
    const double common = random.normal(3 * r);
    a.indices.insert(a.indices.end(), {0, 1});
    a.values.insert(a.values.end(), {static_cast<float>(1000 + common), static_cast<float>(-5000 + random.normal(3 * r + 1))});
    b.indices.push_back(0);
    b.values.push_back(static_cast<float>(2000 + common + random.normal(3 * r + 2)));
    if (r % 50 == 0) {
      b.indices.push_back(1);
      b.values.push_back(static_cast<float>(std::exp(common)));
    }
    a.indptr.push_back(a.nnz());
    b.indptr.push_back(b.nnz());
  }
  const auto pair = best_correlations(world(), a, b, settings(2));
  const auto turned = best_correlations(world(), b, a, settings(2)); // the sparse one on the other side
  if (world().rank() != 0) return;
  for (Index i = 0; i < 2; ++i) {
    expect_equal(pair.a_to_b, plain_best(a, b, i, 0, 0), i);
    expect_equal(turned.b_to_a, plain_best(a, b, i, 0, 0), i);
  }
}

TEST(Pearson, MoreRanksThanFeatures) {
  const auto a = random_csr(1, 60, 3, 0.5);
  const auto pair = best_correlations(world(), a, a, settings(2));
  if (world().rank() != 0) return;
  EXPECT_EQ(pair.a_to_b.partner[0], -1); // dead
  EXPECT_EQ(pair.a_to_b.partner[2], -1); // constant
  EXPECT_EQ(pair.a_to_b.partner[4], 2);
  EXPECT_NEAR(pair.a_to_b.r[4], 1.0, 1e-14);
}

TEST(Pearson, OneRanksStopEndsAPairOnAllRanks) {
  const auto a = random_csr(1, 200, 5, 0.3);
  for (auto way : ways(settings(2, {50}))) {
    way.unstopped_seconds = 0;
    comm::install_stop_flag(0);
    if (world().rank() == world().size() - 1) std::raise(SIGUSR1);
    test::expect_error(ExitCode::stopped, "correlate", [&] { best_correlations(world(), a, a, way); });
    way.unstopped_seconds = 100;
    EXPECT_NO_THROW(best_correlations(world(), a, a, way));
  }
  comm::install_stop_flag(0);
}

/// Loading a pair, adding up its sums and handing out its rows: each ends where one rank is asked to stop.
TEST(Pearson, AStopEndsLoadingAndRowsAsWell) {
  const MatrixSource a(random_csr(1, 200, 5, 0.3));
  for (auto way : ways(settings(2))) {
    way.unstopped_seconds = 0;
    way.grid_columns = 1;
    const auto ask = [] {
      if (world().rank() == world().size() - 1) std::raise(SIGUSR1);
    };
    comm::install_stop_flag(0);
    PairCorrelator correlator(world(), way);
    correlator.open(a, 0, a, 0);
    ask();
    test::expect_error(ExitCode::stopped, "correlate", [&] { correlator.for_each_row([](auto, const auto&, const auto&) {}); });
    PairCorrelator other(world(), way);
    if (way.memory < 1e9 || way.sums_by != SumsBy::cpu) continue; // read piece by piece, when it is summed
    test::expect_error(ExitCode::stopped, "correlate", [&] { other.open(a, 0, a, 0); });
  }
  comm::install_stop_flag(0);
}

TEST(Pearson, NothingAtAll) {
  const io::CsrMatrix empty{5, 3, {0, 0, 0, 0, 0, 0}, {}, {}};
  for (const auto& way : ways(settings(2, {2}))) {
    const auto pair = best_correlations(world(), empty, empty, way);
    if (world().rank() != 0) continue;
    EXPECT_EQ(pair.a_to_b.partner, (std::vector<std::int32_t>(6, -1)));
  }
}

/// Every column twice, side by side.
io::CsrMatrix twins(const io::CsrMatrix& of) {
  io::CsrMatrix m{of.rows, 2 * of.cols, {0}, {}, {}};
  for (Index r = 0; r < of.rows; ++r) {
    for (auto e = static_cast<std::size_t>(of.indptr[static_cast<std::size_t>(r)]);
         e < static_cast<std::size_t>(of.indptr[static_cast<std::size_t>(r) + 1]); ++e) {
      m.indices.insert(m.indices.end(), {2 * of.indices[e], 2 * of.indices[e] + 1});
      m.values.insert(m.values.end(), 2, of.values[e]);
    }
    m.indptr.push_back(m.nnz());
  }
  return m;
}

/// More than a warp of everything: entries on a row of a block, dense features, partners; and of two partners with the same r the one with
/// the smaller number comes first.
TEST(Pearson, GpusGiveTheSameBits) {
  const auto a = twins(random_csr(11, 220, 70, 0.099));
  const auto b = twins(random_csr(12, 220, 230, 0.102));
  const auto s = settings(41, {17, 203});
  const auto expected = best_correlations(world().split(world().rank()), a, b, s);
  for (const auto& way : on_gpus(s, {1e9, 1e6, 3e5}, 1e6)) {
    const auto pair = best_correlations(world(), a, b, way);
    if (world().rank() == 0) expect_same_bits(pair, expected);
  }
}

TEST(Pearson, GpusGiveTheSameRows) {
  const auto a = random_csr(13, 120, 20, 0.09);
  const auto b = random_csr(14, 120, 90, 0.11);
  const MatrixSource source_a(a);
  const MatrixSource source_b(b);
  const auto all_rows = [&](PearsonSettings s) {
    s.grid_columns = 1;
    if (s.sums_by == SumsBy::cpu) s.block = 7;
    PairCorrelator correlator(world(), s);
    correlator.open(source_a, 0, source_b, 0);
    std::map<std::int32_t, std::pair<std::vector<double>, std::vector<std::int32_t>>> rows;
    correlator.for_each_row([&](std::int32_t feature, const std::vector<double>& r, const std::vector<std::int32_t>& cofire) {
      rows[feature] = {r, cofire};
    });
    return rows;
  };
  const auto expected = all_rows(settings(2));
  for (const auto& way : on_gpus(settings(2))) EXPECT_EQ(all_rows(way), expected);
}

/// Of so many partners that most are passed by on a bound, many with the same r: the order of the plain definition.
TEST(Pearson, ManyPartnersAndTies) {
  const auto a = random_csr(21, 300, 24, 0.09);
  const auto b = twins(random_csr(22, 300, 700, 0.03));
  for (const Index best : {1, 16, 33}) {
    const auto pair = best_correlations(world(), a, b, settings(best));
    if (world().rank() != 0) continue;
    for (Index j = 0; j < a.cols; ++j) expect_equal(pair.a_to_b, plain_best(a, b, j, 0, 0), j);
  }
}

/// r of a feature with its copies may be rounded to more than 1, and no bound may lie above what is kept of it.
TEST(Pearson, CopiesOfAFeature) {
  const auto a = random_csr(23, 200, 12, 0.08);
  io::CsrMatrix b{a.rows, 80 * a.cols, {0}, {}, {}}; // column c is column c mod 12 of a, some thousand times as large
  for (std::size_t r = 0; r < static_cast<std::size_t>(a.rows); ++r) {
    for (std::int32_t copy = 0; copy < 80; ++copy)
      for (auto e = static_cast<std::size_t>(a.indptr[r]); e < static_cast<std::size_t>(a.indptr[r + 1]); ++e) {
        b.indices.push_back(copy * static_cast<std::int32_t>(a.cols) + a.indices[e]);
        b.values.push_back(a.values[e] * 1024.0F);
      }
    b.indptr.push_back(b.nnz());
  }
  const Index best = 16;
  const auto pair = best_correlations(world(), a, b, settings(best));
  if (world().rank() != 0) return;
  for (Index j = 0; j < a.cols; ++j) {
    if (plain_best(a, a, j, 0, 0).empty()) continue; // dead or constant
    for (Index p = 0; p < best; ++p) {
      const auto at = static_cast<std::size_t>(j * best + p);
      EXPECT_EQ(pair.a_to_b.partner[at], p * a.cols + j);
      EXPECT_NEAR(pair.a_to_b.r[at], 1.0, 1e-12);
      EXPECT_LE(pair.a_to_b.r[at], 1.0);
    }
  }
}

/// More features than a block may have at most.
TEST(Pearson, MoreFeaturesThanABlockTellsApart) {
  const auto a = random_csr(24, 60, 30, 0.09);
  const auto b = random_csr(25, 60, widest_block + 4000, 0.004);
  auto s = settings(4, {7});
  const auto expected = best_correlations(world().split(world().rank()), a, b, s);
  for (const Index block : {Index{1000}, Index{1} << 20}) {
    s.block = block;
    const auto pair = best_correlations(world(), a, b, s);
    if (world().rank() == 0) expect_same_bits(pair, expected);
  }
}

TEST(BestTable, KeepsTheBestWithTies) {
  const Philox random(31, "partners");
  for (const Index places : {1, 2, 5, 16, 33, 70}) {
    BestTable table(1, places);
    std::vector<Partner> all;
    for (std::int32_t i = 0; i < 400; ++i) {
      const auto r = std::round(random.uniform(static_cast<std::uint64_t>(i)) * 60) / 60;
      all.push_back({r, i, i % 7});
      if (r >= table.floor(0)) table.offer(0, all.back());
      auto expected = all;
      std::sort(expected.begin(), expected.end(), better);
      expected.resize(std::min(expected.size(), static_cast<std::size_t>(places)));
      std::vector<Partner> best;
      table.best(0, best);
      ASSERT_EQ(best.size(), expected.size());
      for (std::size_t p = 0; p < best.size(); ++p) EXPECT_EQ(best[p].feature, expected[p].feature) << places << " places, " << i;
    }
  }
}

TEST(LastOfBest, IsABoundNearTheLast) {
  const Philox random(32, "bins");
  for (const std::size_t count : {10U, 63U, 64U, 100U, 512U})
    for (const Index places : {1, 7, 16, 32, 33})
      for (const double levels : {5.0, 1e9}) { // with ties, and without
        std::vector<double> r(count);
        for (std::size_t i = 0; i < count; ++i) r[i] = std::round(random.uniform(i) * levels) / levels;
        const double bound = last_of_best(r, places);
        auto sorted = r;
        std::sort(sorted.begin(), sorted.end(), std::greater<>());
        if (count < 64 || places > 32) {
          EXPECT_EQ(bound, -std::numeric_limits<double>::infinity());
          continue;
        }
        EXPECT_LE(bound, sorted[static_cast<std::size_t>(places) - 1]);
        EXPECT_GE(bound, sorted[std::min(count, 4 * static_cast<std::size_t>(places)) - 1]);
      }
}

/// Features that are never active together are no partners, so places stay free.
TEST(Pearson, PartnersAreActiveTogether) {
  const io::CsrMatrix a{6, 1, {0, 1, 1, 1, 1, 1, 1}, {0}, {1}};
  const io::CsrMatrix b{6, 2, {0, 1, 2, 2, 2, 2, 2}, {0, 1}, {2, 3}};
  const auto pair = best_correlations(world(), a, b, settings(2));
  if (world().rank() != 0) return;
  EXPECT_EQ(pair.a_to_b.partner, (std::vector<std::int32_t>{0, -1}));
  EXPECT_EQ(pair.b_to_a.partner, (std::vector<std::int32_t>{0, -1, -1, -1}));
}

TEST(Pearson, RecoversAPlantedPermutation) {
  const auto a = random_csr(5, 400, 30, 0.1);
  io::CsrMatrix b = a; // column c of a is column 29 - (c - 3) of b, for the columns that vary
  for (auto& index : b.indices)
    if (index > 2) index = 32 - index;
  const auto pair = best_correlations(world(), a, b, settings(2));
  if (world().rank() != 0) return;
  for (std::int32_t i = 3; i < 30; ++i) {
    EXPECT_EQ(pair.a_to_b.partner[static_cast<std::size_t>(2 * i)], 32 - i);
    EXPECT_EQ(pair.b_to_a.partner[static_cast<std::size_t>(2 * i)], 32 - i);
    EXPECT_NEAR(pair.a_to_b.r[static_cast<std::size_t>(2 * i)], 1.0, 1e-14);
  }
}

TEST(Pearson, FindsAllPairsAboveBounds) {
  const auto a = random_csr(6, 300, 20, 0.12);
  const auto b = random_csr(7, 300, 25, 0.08);
  std::vector<double> limit_a(20, std::numeric_limits<double>::infinity());
  for (const std::size_t i : {2U, 5U, 11U}) limit_a[i] = 0.01 * static_cast<double>(i);
  const std::vector<double> limit_b(25, 0.02);
  std::vector<std::tuple<std::int32_t, std::int32_t>> expected;
  for (const std::int32_t i : {2, 5, 11})
    for (const auto& partner : plain_best(a, b, i, 0, 0))
      if (partner.r > limit_a[static_cast<std::size_t>(i)] + 0.02) expected.emplace_back(i, partner.partner);
  std::sort(expected.begin(), expected.end());
  const MatrixSource source_a(a);
  const MatrixSource source_b(b);
  for (const auto& way : ways(settings(2))) {
    PairCorrelator correlator(world(), way);
    correlator.open(source_a, 0, source_b, 0);
    const bool root = world().rank() == 0;
    std::vector<std::tuple<std::int32_t, std::int32_t>> got;
    for (const auto& found : correlator.exceeding(root ? limit_a : std::vector<double>{}, root ? limit_b : std::vector<double>{}))
      got.emplace_back(found.a, found.b);
    if (!root) continue;
    EXPECT_EQ(got, expected);
  }
}

} // namespace
} // namespace concord::correlate
