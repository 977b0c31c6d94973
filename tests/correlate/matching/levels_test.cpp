// Levels of what correlate prints: p of best correlations and the false discovery rate. Where nothing is shared, p <= alpha comes about in
// a share alpha of the cases, however r is distributed; and what is shared is found among many features.
#include "concord/core/at.hpp"
#include "concord/core/philox.hpp"

#include "correlate/matching/matching.hpp"
#include "support/support.hpp"
#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <tuple>

namespace concord::correlate {
namespace {

/// A law of best r by chance: of a number u in (0, 1) and the rows on which the feature is active.
struct Law {
  const char* name;
  std::function<double(double u, double count)> r;
};

/// The largest of 1,000 values whose upper tail is tail(x): its quantile at u has tail = -ln(u) / 1000.
const std::vector<Law> laws{
    {"normal", [](double u, double n) { return std::sqrt(-2 * std::log(-std::log(u) / 1000)) / std::sqrt(n) / 4; }},
    {"exponential", [](double u, double n) { return -std::log(-std::log(u) / 1000) / std::sqrt(n) / 8; }},
    {"heavy", [](double u, double n) { return std::pow(-std::log(u) / 1000, -0.2) / std::sqrt(n) / 8; }},
    {"bounded", [](double u, double n) { return (1 - std::pow(-std::log(u) / 1000, 0.3)) / std::sqrt(n) / 2; }},
    {"heavy where rare, light where frequent",
     [](double u, double n) { return std::pow(-std::log(u) / 1000, -0.1 - 0.1 / std::log10(n)) / std::sqrt(n) / 8; }},
    {"ties: few values, whatever the count", [](double u, double) { return std::floor(-std::log(-std::log(u) / 1000)) / 40; }},
    {"ties: rare features share whole tokens",
     [](double u, double n) { return std::floor(-2 * std::log(-std::log(u) / 1000) / 3) / std::sqrt(n * 40); }},
};

double spread(double mean) { // three standard deviations of a count of that mean, from overlapping windows: their values are shared
  return 3 * std::sqrt(mean) + 0.15 * mean + 1;
}

struct Drawn {
  std::vector<Index> counts;
  std::vector<double> null; ///< [shifts, F]
  std::vector<double> r;
};

/// p of the rarest, of the most frequent and of all features: the first and last share a window with others of one side alone.
struct Group {
  const char* name;
  std::vector<double> p;
};

constexpr Index rows_of_laws = 200'000; // features on more than 20,000 are dense

/// The last `dense` of them are.
Drawn draw(const Law& law, Index features, Index shifts, std::uint64_t seed, Index dense = 0) {
  const Philox random(seed, "levels");
  Drawn d;
  const auto r = [&](std::uint64_t i, Index f) { return law.r(random.uniform(i), static_cast<double>(d.counts[at(f)])); };
  for (Index f = 0; f < features; ++f) // from rare to frequent
    d.counts.push_back(10 + static_cast<Index>(std::pow(10.0, 4 * static_cast<double>(f) / static_cast<double>(features))));
  for (Index i = 0; i < dense; ++i) d.counts[at(features - dense + i)] = 22'000 + i * 160'000 / dense;
  for (Index i = 0; i < shifts * features; ++i) d.null.push_back(r(static_cast<std::uint64_t>(i), i % features));
  for (Index f = 0; f < features; ++f) d.r.push_back(r(static_cast<std::uint64_t>(shifts * features + f), f));
  return d;
}

/// Features of which the counts alone are known.
class CountsSource final : public FeatureSource {
public:
  explicit CountsSource(std::vector<Index> counts) {
    totals_.sum.assign(counts.size(), 1.0);
    totals_.count = std::move(counts);
  }
  Index rows() const override { return rows_of_laws; }
  using FeatureSource::entries;
  Index entries(Index, Index) const override { return 0; }
  io::CsrMatrix read(Index, Index) const override { return {}; }
};

/// The null of some features at each of four shifts; of all where `features` is 0.
BestNull null_of(const Drawn& d, Index features, std::uint64_t seed) {
  if (features == 0) return {d.null, {{}, {}, {}, 0.1 * static_cast<double>(rows_of_laws)}, d.counts};
  const auto sample = null_sample(CountsSource(d.counts), features, 4, Philox(seed, "sample"));
  std::vector<double> null;
  for (std::size_t k = 0; k < sample.feature.size(); ++k)
    null.push_back(d.null[at(sample.shift[k]) * d.counts.size() + at(sample.feature[k])]);
  return {null, sample, d.counts};
}

/// How many features there are, in how many draws, and how many of them make the null.
struct Size {
  Index features;
  std::uint64_t trials;
  Index sampled;
};

TEST(Levels, OfBestCorrelationsHoldDownToTheTail) {
  for (const auto& law : laws)
    for (const auto& [features, trials, sampled] : {Size{1024, 16, 0}, {12000, 2, 0}, {12000, 4, 1024}, {24000, 2, 1500}}) {
      std::vector<Group> groups{{"all", {}}, {"rarest", {}}, {"most frequent", {}}};
      for (std::uint64_t seed = 0; seed < trials; ++seed) {
        const auto d = draw(law, features, 4, seed);
        const BestNull null = null_of(d, sampled, seed);
        for (Index f = 0; f < features; ++f) {
          const double p = null.p(f, d.r[at(f)]);
          groups[0].p.push_back(p);
          if (f < features / 32) groups[1].p.push_back(p);
          if (f >= features - features / 32) groups[2].p.push_back(p);
        }
      }
      const bool continuous = std::string(law.name).rfind("ties", 0) != 0;
      for (const auto& [name, p] : groups)
        for (const double alpha : {0.5, 0.05, 0.01, 0.001, 0.0003}) {
          const double expected = alpha * static_cast<double>(p.size());
          const auto found = static_cast<double>(std::count_if(p.begin(), p.end(), [&](double v) { return v <= alpha; }));
          const auto what = fmt::format("{}, {} of {} ({}), {}", law.name, name, features, sampled, alpha);
          EXPECT_LE(found, expected + spread(expected)) << what;
          if (continuous && alpha >= 0.05) {                           // below it ties and bounds make p larger, at most
            const double cautious = sampled > 0 ? 0.05 * expected : 0; // the larger p of two scales holds
            EXPECT_GE(found, expected - spread(expected) - cautious) << what;
          }
        }
    }
}

std::vector<double> q_of(const BestNull& null, const std::vector<double>& r) {
  std::vector<double> p;
  for (std::size_t f = 0; f < r.size(); ++f) p.push_back(null.p(static_cast<Index>(f), r[f]));
  return benjamini_hochberg(p);
}

/// Of so many draws, of which those of dense features share their null.
void expect_no_more_than(double alpha, const std::vector<double>& p, const std::string& what) {
  const double expected = alpha * static_cast<double>(p.size());
  const auto found = static_cast<double>(std::count_if(p.begin(), p.end(), [&](double v) { return v <= alpha; }));
  EXPECT_LE(found, expected + spread(expected)) << what << ", " << alpha << " of " << p.size();
}

/// The law, and of dense features so many times what it has where they begin, whatever their count.
Law stepping(const Law& law, double times) {
  const auto from = 0.1 * static_cast<double>(rows_of_laws);
  return {law.name, [=](double u, double n) { return n > from ? times * law.r(u, from) : law.r(u, n); }};
}

/// What dense features reach by chance need not follow the others' law. Their p holds by itself, and so does the false discovery rate
/// beside a third of the others that have a counterpart.
TEST(Levels, OfDenseFeaturesHoldWhateverOthersReach) {
  const Index features = 12000;
  const double times = 4;
  for (const auto& law : {laws[1], laws[2], laws[5]})
    for (const auto& [dense, sampled] : {std::pair<Index, Index>{3, 0}, {16, 0}, {200, 0}, {16, 512}, {64, 512}, {200, 512}}) {
      const auto what = fmt::format("{}, {} dense, {} sampled", law.name, dense, sampled);
      std::vector<double> p_dense;
      double called = 0, expected = 0;
      for (std::uint64_t seed = 0; seed < 4; ++seed) {
        auto d = draw(stepping(law, times), features, 4, 300 + seed, dense);
        const BestNull null = null_of(d, sampled, seed);
        for (Index f = 0; f < features - dense; f += 3) d.r[at(f)] = 2 * times;
        std::vector<double> p;
        for (Index f = 0; f < features; ++f) p.push_back(null.p(f, d.r[at(f)]));
        p_dense.insert(p_dense.end(), p.end() - dense, p.end());
        const auto q = benjamini_hochberg(p);
        const auto is_called = [](double value) { return value <= 0.05; };
        called += static_cast<double>(std::count_if(q.end() - dense, q.end(), is_called));
        const auto all = static_cast<double>(std::count_if(q.begin(), q.end(), is_called));
        EXPECT_GE(all, 3500) << what;
        expected += 0.05 * all / static_cast<double>(features) * static_cast<double>(dense);
      }
      for (const double alpha : {0.5, 0.05, 0.01}) expect_no_more_than(alpha, p_dense, what);
      EXPECT_LE(called, expected + spread(expected)) << what;
    }
}

/// Their tail may be heavier than the others', beyond what their few null values show. Then p below 1 / (1 + these values) is too small,
/// but no more of them have such a p than that.
TEST(Levels, OfDenseFeaturesHoldAsFarAsTheirValuesReach) {
  const Law law{"heavy where dense", [](double u, double n) { return laws[n > 0.1 * rows_of_laws ? 2 : 0].r(u, std::min(n, 20'000.0)); }};
  struct Case {
    Index dense, sampled, values;
  };
  for (const auto& [dense, sampled, values] : {Case{1, 0, 4}, {3, 0, 12}, {16, 0, 64}, {200, 0, 800}, {16, 512, 16}, {200, 512, 200}}) {
    std::vector<double> p;
    const std::uint64_t draws = dense < 100 ? 40 : 8;
    for (std::uint64_t seed = 0; seed < draws; ++seed) {
      const auto d = draw(law, 3000, 4, 500 + seed, dense);
      const BestNull null = null_of(d, sampled, seed);
      for (Index f = 3000 - dense; f < 3000; ++f) p.push_back(null.p(f, d.r[at(f)]));
    }
    if (values < 12) {
      EXPECT_GE(*std::min_element(p.begin(), p.end()), 0.05 / static_cast<double>(1 + values));
    }
    for (const double alpha : {0.5, 0.2, 0.1, 0.05, 0.01, 0.001}) {
      const double expected = std::max(alpha, 1 / static_cast<double>(1 + values)) * static_cast<double>(p.size());
      const auto found = static_cast<double>(std::count_if(p.begin(), p.end(), [&](double v) { return v <= alpha; }));
      EXPECT_LE(found, expected + spread(expected)) << dense << " dense, " << sampled << " sampled, " << alpha;
    }
  }
}

/// Where their law is that of the others up to a factor, their p holds beyond their values, too.
TEST(Levels, OfDenseFeaturesHoldBeyondTheirValuesWhereTheTailIsTheOthers) {
  for (const auto& law : {laws[0], laws[1], laws[2]})
    for (const Index dense : {3, 12}) {
      const auto of_dense = stepping(law, 4);
      std::vector<double> p;
      for (std::uint64_t seed = 0; seed < 40; ++seed) {
        const BestNull null = null_of(draw(of_dense, 1000, 4, 800 + seed, dense), 0, seed);
        const Philox random(seed, "dense");
        for (std::uint64_t i = 0; i < 1000; ++i) p.push_back(null.p(999, of_dense.r(random.uniform(i), 25'000)));
      }
      for (const double alpha : {0.05, 0.01, 0.001}) {
        const double expected = alpha * static_cast<double>(p.size());
        const auto found = static_cast<double>(std::count_if(p.begin(), p.end(), [&](double v) { return v <= alpha; }));
        EXPECT_LE(found, expected + spread(expected)) << law.name << ", " << dense << " dense, " << alpha;
      }
    }
}

/// However few dense features there are, one with a counterpart stands out: by the others' tail. Of fewer than three a twentieth of what is
/// counted is the least p.
TEST(Levels, ADenseFeatureWithACounterpartIsFound) {
  for (const auto& law : {laws[0], laws[1], laws[2]})
    for (const auto& [dense, sampled] : {std::pair<Index, Index>{1, 0}, {3, 0}, {16, 0}, {3, 512}, {16, 512}}) {
      const auto what = fmt::format("{}, {} dense, {} sampled", law.name, dense, sampled);
      auto d = draw(law, 12000, 4, 600, dense);
      const BestNull null = null_of(d, sampled, 600);
      for (Index f = 0; f < 11999; f += 24) d.r[at(f)] = 1;
      d.r[11999] = 0.05; // by chance it is 0.005 to 0.008
      if (dense < 3) {
        EXPECT_NEAR(null.p(11999, 0.05), 0.01, 1e-9) << what;
        continue;
      }
      EXPECT_LE(null.threshold(11999, 0.001), 0.05) << what;
      EXPECT_LE(q_of(null, d.r)[11999], 0.05) << what;
    }
}

/// The same where the others are the few.
TEST(Levels, OfFewFeaturesThatAreNotDenseHold) {
  for (const auto& law : {laws[0], laws[2]}) {
    std::vector<double> p;
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
      const auto d = draw(stepping(law, 0.25), 1024, 4, 700 + seed, 1008);
      const BestNull null = null_of(d, 0, seed);
      for (Index f = 0; f < 16; ++f) p.push_back(null.p(f, d.r[at(f)]));
      EXPECT_LE(null.p(7, 30 * d.r[7]), 0.01) << law.name;
    }
    for (const double alpha : {0.5, 0.05, 0.01}) expect_no_more_than(alpha, p, law.name);
  }
}

/// Rare features have a heavy tail, all others a light one, so that all windows' values together say too little of the rare ones: their p
/// is no smaller than their own window counts.
TEST(Levels, OfRareFeaturesOfASampleHoldWhereTheirTailIsTheirOwn) {
  const Law law{"heavy below 30", [](double u, double n) {
                  const double light = 0.2 + 0.011 * std::log(u / (1 - u));
                  return 3 * (n < 30 ? std::pow(-std::log(u) / 1000, -0.35) / 55 : light) / std::sqrt(n);
                }};
  std::vector<double> p;
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    const auto d = draw(law, 8192, 4, 400 + seed);
    const BestNull null = null_of(d, 512, seed);
    for (Index f = 0; d.counts[at(f)] < 30; ++f) p.push_back(null.p(f, d.r[at(f)]));
  }
  for (const double alpha : {0.05, 0.03, 0.01, 0.003}) expect_no_more_than(alpha, p, law.name);
}

/// Values stand for unlike numbers of features: p is of features, not of values.
TEST(Levels, OfASampleCountWithWeights) {
  NullSample sample;
  std::vector<double> null;
  for (std::int32_t i = 0; i < 256; ++i) { // a window
    sample.feature.push_back(i);
    sample.shift.push_back(0);
    sample.weight.push_back(i % 3 == 0 ? 4 : 1);
    null.push_back(i % 3 == 0 ? 0.3 : 0.1);
  }
  const std::vector<Index> counts(1000, 20);
  const BestNull best(null, sample, counts);
  EXPECT_DOUBLE_EQ(best.p(999, 0.1), 1);
  EXPECT_DOUBLE_EQ(best.p(999, 0.2), (4 + 4 * 86.0) / (4 + 4 * 86.0 + 170));
  EXPECT_DOUBLE_EQ(best.p(999, 0.3), (4 + 4 * 86.0) / (4 + 4 * 86.0 + 170));
  EXPECT_NEAR(best.threshold(999, 0.7), 0.1, 1e-9);
  auto missing = counts;
  missing.push_back(5000);
  sample.dense = 1000; // of which there is no value
  test::expect_error(ExitCode::internal, "no value", [&] { BestNull(null, sample, missing); });
}

/// A window holds 4,096 values, of which none is as large: by counting alone p is 1 / 4,097, and no q is below 0.3.
TEST(Levels, AHundredExactPairsAreFoundAmongManyFeatures) {
  const Index features = 131072;
  const Index pairs = 100;
  for (const auto& law : {laws[0], laws[2], laws[laws.size() - 2]}) {
    auto d = draw(law, features, 4, 7);
    for (Index i = 0; i < pairs; ++i) d.r[at(i * (features / pairs))] = 1;
    for (const Index sampled : {Index{0}, features / 16}) {
      const BestNull null = null_of(d, sampled, 7);
      std::vector<double> p;
      for (Index f = 0; f < features; ++f) p.push_back(null.p(f, d.r[at(f)]));
      const auto q = benjamini_hochberg(p);
      Index found = 0;
      Index wrong = 0;
      for (Index f = 0; f < features; ++f) {
        const bool planted = f % (features / pairs) == 0 && f / (features / pairs) < pairs;
        found += planted && q[at(f)] <= 0.05 ? 1 : 0;
        wrong += !planted && q[at(f)] <= 0.05 ? 1 : 0;
      }
      // A sample's windows have half as many values; where these tie it has too few beyond their tenths, and no law to fit.
      const bool ties = std::string(law.name).rfind("ties", 0) == 0;
      EXPECT_GE(found, sampled == 0 ? 80 : (ties ? 0 : 60)) << law.name << ", " << sampled;
      EXPECT_LE(wrong, 15) << law.name << ", " << sampled; // 5 % of what is found, and its spread
    }
  }
}

/// How far a sample moves thresholds: of the factors' logarithms.
struct Moved {
  std::vector<double> distance;
  double mean = 0;
};

Moved moved_thresholds(const BestNull& whole, const BestNull& sample, Index features, double level) {
  Moved moved;
  for (Index f = 0; f < features; ++f) {
    const double ratio = std::log(sample.threshold(f, level) / whole.threshold(f, level));
    moved.distance.push_back(std::abs(ratio));
    moved.mean += ratio / static_cast<double>(features);
  }
  std::sort(moved.distance.begin(), moved.distance.end());
  return moved;
}

/// 512 of 16,384 features at each shift, of which 500 have a counterpart with an r just above or far above what chance gives: thresholds
/// move by a few per cent, up where at all, and what is called is the same but for those on the border.
TEST(Levels, OfASampleMoveThresholdsAndCallsLittle) {
  const Index features = 16384;
  for (const auto& law : {laws[0], laws[1], laws[2]}) {
    double middle = 0, high = 0, mean = 0;
    constexpr std::uint64_t draws = 4;
    Index called = 0, other = 0;
    for (std::uint64_t seed = 11; seed < 11 + draws; ++seed) {
      auto d = draw(law, features, 4, seed);
      const BestNull whole = null_of(d, 0, seed);
      const BestNull sample = null_of(d, 512, seed);
      const auto moved = moved_thresholds(whole, sample, features, 0.05);
      middle += moved.distance[moved.distance.size() / 2] / draws;
      high += moved.distance[moved.distance.size() * 9 / 10] / draws;
      mean += moved.mean / draws;
      const Philox random(seed, "planted");
      for (Index f = 0; f < features; f += 32)
        d.r[at(f)] = std::max(d.r[at(f)], whole.threshold(f, 0.05) * (1.5 + 4 * random.uniform(static_cast<std::uint64_t>(f))));
      const auto q_whole = q_of(whole, d.r);
      const auto q_sample = q_of(sample, d.r);
      for (std::size_t f = 0; f < at(features); ++f) {
        called += q_whole[f] <= 0.05 ? 1 : 0;
        other += (q_whole[f] <= 0.05) != (q_sample[f] <= 0.05) ? 1 : 0;
      }
    }
    EXPECT_LE(middle, 0.06) << law.name;
    EXPECT_LE(high, 0.15) << law.name;
    EXPECT_GE(mean, -0.01) << law.name;
    EXPECT_LE(mean, 0.05) << law.name;
    EXPECT_GE(called, 200 * draws) << law.name;
    EXPECT_LE(other, called / 5) << law.name;
  }
}

/// Of all features without a counterpart none is called, in all but 5 % of the cases.
TEST(Levels, OfTheFalseDiscoveryRateHoldWhereNothingIsShared) {
  for (const auto& law : laws)
    for (const Index sampled : {0, 256}) {
      int called = 0;
      const int trials = 40;
      for (int t = 0; t < trials; ++t) {
        const auto d = draw(law, 1024, 4, 100 + static_cast<std::uint64_t>(t));
        const BestNull null = null_of(d, sampled, static_cast<std::uint64_t>(t));
        std::vector<double> p;
        for (Index f = 0; f < 1024; ++f) p.push_back(null.p(f, d.r[at(f)]));
        const auto q = benjamini_hochberg(p);
        called += *std::min_element(q.begin(), q.end()) <= 0.05 ? 1 : 0;
      }
      EXPECT_LE(called, 2 + 3 * std::sqrt(2.0)) << law.name << ", " << sampled;
    }
}

// --- draws of small models: features on rows, correlated for real --------------------------------------------------------------

/// What an active feature's value is.
struct Values {
  const char* name;
  std::function<double(double normal)> of;
};
const std::vector<Values> kinds_of_values{{"ties: one value", [](double) { return 1.0; }},
                                          {"lognormal", [](double n) { return std::exp(n); }},
                                          {"heavy tails", [](double n) { return std::exp(2.5 * n); }}};

/// Features that fire on 2 % of the rows (the first) to 50 % (the last), each by itself: the rarest on some 12 of 600 rows.
io::CsrMatrix draw_features(const Values& values, Index rows, Index cols, std::uint64_t seed) {
  const Philox random(seed, "features");
  io::CsrMatrix m{rows, cols, {0}, {}, {}};
  for (Index r = 0; r < rows; ++r) {
    for (Index c = 0; c < cols; ++c) {
      const auto i = static_cast<std::uint64_t>(r * cols + c);
      if (random.uniform(2 * i) > 0.02 * std::pow(25.0, static_cast<double>(c) / static_cast<double>(cols - 1))) continue;
      m.indices.push_back(static_cast<std::int32_t>(c));
      m.values.push_back(static_cast<float>(values.of(random.normal(2 * i + 1))));
    }
    m.indptr.push_back(m.nnz());
  }
  return m;
}

/// The features that `planted` names fire as those of `of` on 7 of 10 rows, and else as they did.
io::CsrMatrix with_copies(const io::CsrMatrix& m, const io::CsrMatrix& of, const std::vector<Index>& planted, std::uint64_t seed) {
  const Philox random(seed, "copies");
  io::CsrMatrix out{m.rows, m.cols, {0}, {}, {}};
  for (Index r = 0; r < m.rows; ++r) {
    std::vector<float> row(at(m.cols), 0.0F);
    for (Index e = m.indptr[at(r)]; e < m.indptr[at(r) + 1]; ++e) row[at(m.indices[at(e)])] = m.values[at(e)];
    for (Index e = of.indptr[at(r)]; e < of.indptr[at(r) + 1]; ++e)
      if (std::find(planted.begin(), planted.end(), of.indices[at(e)]) != planted.end() &&
          random.uniform(static_cast<std::uint64_t>(r * m.cols + of.indices[at(e)])) < 0.7)
        row[at(of.indices[at(e)])] = of.values[at(e)];
    for (Index c = 0; c < m.cols; ++c) {
      if (row[at(c)] == 0) continue;
      out.indices.push_back(static_cast<std::int32_t>(c));
      out.values.push_back(row[at(c)]);
    }
    out.indptr.push_back(out.nnz());
  }
  return out;
}

std::vector<Index> counts_of(const io::CsrMatrix& m) {
  std::vector<Index> counts(at(m.cols), 0);
  for (const auto c : m.indices) ++counts[at(c)];
  return counts;
}

/// A pair of models with what correlate prints of it: on every feature of B, but for p of A.
struct Pair {
  PairCorrelation correlation;
  MatchSide a, b;
  std::vector<double> p_a, p_b, threshold_b;
  Matching matching;
};

Pair pair_of(const io::CsrMatrix& a, const io::CsrMatrix& b, Index shifts) {
  PearsonSettings settings;
  settings.best = 2;
  for (Index s = 1; s <= shifts; ++s) settings.shifts.push_back(s * a.rows / (shifts + 1));
  Pair pair{best_correlations(test::world(), a, b, settings), {counts_of(a), {}}, {counts_of(b), {}}, {}, {}, {}, {}};
  const MatchRules rules; // the matcher refers to it
  const Matcher matcher(pair.correlation, rules, pair.a, pair.b);
  for (Index f = 0; f < b.cols; ++f) {
    pair.p_a.push_back(matcher.null_a().p(f, pair.correlation.a_to_b.r[at(2 * f)]));
    pair.p_b.push_back(matcher.null_b().p(f, pair.correlation.b_to_a.r[at(2 * f)]));
    pair.threshold_b.push_back(matcher.null_b().threshold(f, 0.05));
  }
  pair.matching = matcher.match(matcher.edges());
  return pair;
}

/// Of values one of which comes from each of `draws` draws.
void expect_level(const std::vector<double>& p, double draws, const std::vector<double>& alphas, const std::string& what) {
  const auto n = static_cast<double>(p.size());
  for (const double alpha : alphas) {
    const auto found = static_cast<double>(std::count_if(p.begin(), p.end(), [&](double v) { return v <= alpha * (1 + 1e-9); }));
    EXPECT_LE(found / n, alpha + 3.5 * std::sqrt(alpha * (1 - alpha) / draws)) << what << " at " << alpha << " of " << n;
  }
}

/// Of 1,000 pairs of models of 32 features without anything in common: p of the rarest and most frequent features and of all, p and q of
/// matches, and thresholds. All features share one window. 4 shifts are the default, of 39 q may get below 0.05.
TEST(Levels, OfSmallUnrelatedModelsHold) {
  const Index features = 32;
  for (const auto& values : kinds_of_values)
    for (const auto& [shifts, trials, rows] : {std::tuple<Index, int, Index>{4, 1000, 600}, {39, 400, 600}}) {
      std::map<std::string, std::vector<double>> p;
      for (int t = 0; t < trials; ++t) {
        const auto seed = static_cast<std::uint64_t>(2 * t);
        const auto pair = pair_of(draw_features(values, rows, features, seed), draw_features(values, rows, features, seed + 1), shifts);
        for (const Index f : {0, 1}) {
          p["rarest of A"].push_back(pair.p_a[at(f)]);
          p["rarest of B"].push_back(pair.p_b[at(f)]);
          p["most frequent of A"].push_back(pair.p_a[at(features - 1 - f)]);
          p["most frequent of B"].push_back(pair.p_b[at(features - 1 - f)]);
        }
        double q = 1;
        for (std::size_t f = 0; f < at(features); ++f) {
          p["all"].push_back(pair.p_b[f]);
          p["threshold"].push_back(pair.correlation.b_to_a.r[2 * f] > pair.threshold_b[f] ? 0.05 : 1);
          p["match"].push_back(pair.matching.a[f] < 0 ? 1 : pair.matching.p[f]);
          if (pair.matching.a[f] >= 0) q = std::min(q, pair.matching.q[f]);
        }
        p["smallest q"].push_back(q);
      }
      for (const auto& [name, list] : p)
        expect_level(list, trials, {0.1, 0.05, 0.01, 0.001}, fmt::format("{}, {}, {} shifts", name, values.name, shifts));
      const auto& all = p["all"];
      const auto found = std::count_if(all.begin(), all.end(), [](double v) { return v <= 0.05; });
      EXPECT_GE(static_cast<double>(found) / static_cast<double>(all.size()), 0.03) << values.name; // it is no p that never speaks
    }
}

/// 8 of 32 features are copies by 7 of 10 rows: they are found, and of what is found no more than max_q is wrong on average.
TEST(Power, CopiesAreFoundAmongFewFeaturesAtTheFalseDiscoveryRate) {
  const std::vector<Index> planted{0, 4, 8, 12, 16, 20, 24, 28}; // rare and frequent
  for (const auto& values : kinds_of_values) {
    int found = 0;
    double false_share = 0;
    const int trials = 100;
    for (int t = 0; t < trials; ++t) {
      const auto seed = static_cast<std::uint64_t>(3 * t);
      const auto a = draw_features(values, 600, 32, seed);
      const auto pair = pair_of(a, with_copies(draw_features(values, 600, 32, seed + 1), a, planted, seed + 2), 39);
      int right = 0;
      int wrong = 0;
      for (std::size_t f = 0; f < 32; ++f) {
        if (pair.matching.a[f] < 0) continue;
        const bool is_copy = pair.matching.a[f] == static_cast<std::int32_t>(f) &&
                             std::find(planted.begin(), planted.end(), static_cast<Index>(f)) != planted.end();
        ++(is_copy ? right : wrong);
      }
      found += right;
      false_share += wrong > 0 ? static_cast<double>(wrong) / static_cast<double>(right + wrong) : 0.0;
    }
    // So few features give so small a null that heavy tails hide copies: their p stays near 0.003.
    if (std::string(values.name) != "heavy tails") {
      EXPECT_GE(found, 4 * trials) << values.name;
    }
    EXPECT_LE(false_share / trials, 0.05 + 3.5 * 0.1 / std::sqrt(trials)) << values.name;
  }
}

TEST(Levels, EqualCorrelationsCountAsEqualWhateverTheOrderOfTheirSums) {
  const std::vector<double> null(500, 0.25 * (1 - 4e-16));
  const BestNull best(null, {}, std::vector<Index>(500, 20));
  EXPECT_EQ(best.p(3, 0.25), 1);
}

} // namespace
} // namespace concord::correlate
