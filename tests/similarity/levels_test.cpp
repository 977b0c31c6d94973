// Levels of what compare prints. Of each p: where its null holds, p <= alpha comes about in a share alpha of the cases, with small spaces,
// ties, heavy tails and strata that allow few permutations; and a planted likeness is found. Of each sampled or rounded estimate: it is
// the exact value where that can be had, and its error covers the truth.
#include "concord/core/philox.hpp"
#include "concord/similarity/compare_spaces.hpp"
#include "concord/similarity/permutation.hpp"

#include "similarity/oracle.hpp"
#include "support/support.hpp"
#include <cmath>
#include <functional>

namespace concord::similarity {
namespace {

using namespace oracle;
using test::world;

/// A law of spaces without any relation but what strata allow.
struct Data {
  const char* name;
  std::function<Matrix(std::uint64_t seed, Index rows, Index cols)> draw;
};

Matrix mapped(Matrix x, const std::function<double(double)>& f) {
  for (double& v : x.values) v = f(v);
  return x;
}

const std::vector<Data> kinds_of_data{
    {"normal", random_matrix},
    {"heavy tails", [](std::uint64_t s, Index r, Index c) { return mapped(random_matrix(s, r, c), [](double v) { return v * v * v; }); }},
    {"ties: few values",
     [](std::uint64_t s, Index r, Index c) { return mapped(random_matrix(s, r, c), [](double v) { return v > 0.3 ? 1.0 : 0.0; }); }},
    {"ties: few different rows",
     [](std::uint64_t s, Index r, Index c) {
       const Matrix some = random_matrix(s, 3, c);
       const Philox random(s, "rows");
       std::vector<Index> order;
       for (Index i = 0; i < r; ++i) order.push_back(static_cast<Index>(random.below(static_cast<std::uint64_t>(i), 3)));
       return some.rows_of(order);
     }},
};

/// Shares of p <= alpha at most alpha, within three and a half standard deviations; `uniform`: also at least.
void expect_level(std::vector<double> p, const std::vector<double>& alphas, bool uniform, const std::string& what) {
  p.erase(std::remove_if(p.begin(), p.end(), [](double v) { return std::isnan(v); }), p.end());
  const auto n = static_cast<double>(p.size());
  if (n < 20) return; // hardly ever defined for such data
  for (const double alpha : alphas) {
    const double spread = 3.5 * std::sqrt(n * alpha * (1 - alpha)) + 1;
    const auto found = static_cast<double>(std::count_if(p.begin(), p.end(), [&](double v) { return v <= alpha * (1 + 1e-9); }));
    EXPECT_LE(found, alpha * n + spread) << what << " at " << alpha << " of " << n;
    if (uniform) {
      EXPECT_GE(found, alpha * n - spread) << what << " at " << alpha << " of " << n;
    }
  }
}

const std::vector<std::string> shuffled_measures{"svcca",     "svcca_squared", "svcca_rank1", "pwcca",        "rsa",        "rsa_pearson",
                                                 "rsa_rho_a", "rsa_kendall",   "cka",         "cka_debiased", "procrustes", "mutual_knn"};

SpaceOptions small_options(std::vector<std::string> measures) {
  SpaceOptions o;
  o.measures = std::move(measures);
  o.rdm = RdmKind::euclidean; // defined for equal and for constant rows
  o.svcca = {0.99, 2};
  o.neighbours = 3;
  o.kendall_samples = 60;
  o.stratified = 0;
  return o;
}

using PValues = std::map<std::string, std::vector<double>>;

/// Shuffled pairings: 1,000 draws of each kind of data, all of whose p are multiples of 1/20.
TEST(Levels, OfShuffledPairingsHold) {
  auto o = small_options(shuffled_measures);
  o.permutations = 19;
  for (const auto& data : kinds_of_data) {
    PValues p;
    for (std::uint64_t t = 0; t < 1000; ++t) {
      o.seed = t;
      for (const auto& [name, m] : compare_spaces(world(), data.draw(2 * t, 12, 3), data.draw(2 * t + 1, 12, 3), {}, o).measures)
        p[name].push_back(m.p);
    }
    const bool continuous = std::string(data.name).rfind("ties", 0) != 0;
    for (const auto& [name, values] : p)
      expect_level(values, {0.05, 0.1, 0.5}, continuous && name != "mutual_knn" && name != "rsa_kendall", name + ", " + data.name);
  }
}

/// The far tail: 4,000 draws of the cheap measures with 999 shuffles.
TEST(Levels, OfShuffledPairingsHoldInTheTail) {
  auto o = small_options({"mutual_knn"});
  o.permutations = 999;
  for (const auto& data : {kinds_of_data[0], kinds_of_data[3]}) {
    std::vector<double> p;
    for (std::uint64_t t = 0; t < 1000; ++t) {
      o.seed = t;
      p.push_back(compare_spaces(world(), data.draw(2 * t, 16, 3), data.draw(2 * t + 1, 16, 3), {}, o).measures.at("mutual_knn").p);
    }
    expect_level(p, {0.05, 0.01, 0.001}, false, std::string("mutual_knn, ") + data.name);
  }
}

/// Rows that are all but equal: neighbours are a matter of ties, and two such spaces have nothing in common.
TEST(Levels, OfMutualNeighboursHoldWhereNeighboursTie) {
  auto o = small_options({"mutual_knn"});
  o.permutations = 39;
  o.neighbours = 5;
  const Matrix equal{50, 3, std::vector<double>(150, 1.0)};
  double sum = 0;
  std::vector<double> p;
  for (std::uint64_t t = 0; t < 200; ++t) {
    o.seed = t;
    const auto m = compare_spaces(world(), equal, equal, {}, o).measures.at("mutual_knn");
    p.push_back(m.p);
    sum += m.score;
  }
  EXPECT_NEAR(sum / 200, 5.0 / 49, 0.01);
  expect_level(p, {0.05, 0.25, 0.5}, false, "mutual_knn of equal rows");
}

/// Strata: X and Y are both a function of the stratum, and beyond it unrelated. Shuffles within strata keep their level; with strata that
/// allow the identity alone p is 1.
TEST(Levels, OfStratifiedPairingsHold) {
  auto o =
      small_options({"svcca", "svcca_squared", "rsa", "rsa_pearson", "rsa_kendall", "cka", "cka_debiased", "procrustes", "mutual_knn"});
  o.permutations = 0;
  o.stratified = 19;
  for (const Index strata : {3, 6, 12}) { // of 12 rows: of 4, of 2, of 1
    PValues p;
    for (std::uint64_t t = 0; t < 400; ++t) {
      SpaceFacts facts;
      Matrix x = random_matrix(4 * t, 12, 3);
      Matrix y = random_matrix(4 * t + 1, 12, 3);
      for (Index i = 0; i < 12; ++i) {
        facts.strata.push_back(i % strata);
        for (Index c = 0; c < 3; ++c)
          for (Matrix* m : {&x, &y})
            m->values[static_cast<std::size_t>(i * 3 + c)] += 3 * random_matrix(7, 12, 3).at(i % strata, c); // the same on both sides
      }
      o.seed = t;
      for (const auto& [name, m] : compare_spaces(world(), x, y, facts, o).measures) p[name].push_back(m.stratified.p);
    }
    for (const auto& [name, values] : p) {
      if (strata == 12) {
        for (const double v : values) EXPECT_EQ(v, 1) << name;
      }
      expect_level(values, {0.05, 0.1, 0.5}, false, name + fmt::format(", {} strata", strata));
    }
  }
}

/// Subsets: the kept rows are a random subset as well.
TEST(Levels, OfRandomSubsetsHold) {
  auto o = small_options({"svcca_squared", "rsa", "cka", "mutual_knn"});
  o.permutations = 0;
  o.subsets = 19;
  PValues p;
  for (std::uint64_t t = 0; t < 300; ++t) {
    const Matrix x = random_matrix(2 * t, 30, 3);
    const Matrix y = plus(random_matrix(2 * t + 1, 30, 3), x, 1);
    const auto drawn = [&](std::uint64_t s) {
      auto order = shuffled(30, Philox(t, "subset", s));
      order.resize(12);
      return std::pair{x.rows_of(order), y.rows_of(order)};
    };
    const auto [kept_x, kept_y] = drawn(100);
    SpaceFacts facts;
    facts.subset = [&](Index s) { return drawn(static_cast<std::uint64_t>(s)); };
    o.seed = t;
    for (const auto& [name, m] : compare_spaces(world(), kept_x, kept_y, facts, o).measures) p[name].push_back(m.subsets.p);
  }
  for (const auto& [name, values] : p) expect_level(values, {0.05, 0.1, 0.5}, false, name + " against subsets");
}

/// Closed forms: where nothing is shuffled, tails by three exact moments.
TEST(Levels, OfClosedFormsHoldInTheTail) {
  auto o = small_options({"svcca_squared", "svcca_rank1", "rsa", "rsa_pearson", "rsa_rho_a", "cka"});
  o.permutations = 0;
  for (const auto& data : {kinds_of_data[0], kinds_of_data[1], kinds_of_data[2]}) {
    PValues p;
    for (std::uint64_t t = 0; t < 3000; ++t)
      for (const auto& [name, m] : compare_spaces(world(), data.draw(2 * t, 24, 3), data.draw(2 * t + 1, 24, 3), {}, o).measures) {
        p[name].push_back(m.p);
        if (t == 0) {
          EXPECT_EQ(m.p_from, PFrom::law) << name;
        }
      }
    for (const auto& [name, values] : p) {
      expect_level(values, {0.05, 0.01, 0.001}, false, name + " in closed form, " + data.name);
      const auto found = std::count_if(values.begin(), values.end(), [](double v) { return v <= 0.05; });
      EXPECT_GE(found, 60) << name << ", " << data.name; // of 150: it is no law that never speaks
    }
  }
}

TEST(Levels, OfPrincipalAnglesHoldInTheTail) {
  auto o = small_options({"principal_angles"});
  o.permutations = 0;
  for (const Index k : {1, 3}) {
    o.svcca.k = k;
    std::vector<double> p;
    for (std::uint64_t t = 0; t < 3000; ++t)
      p.push_back(
          compare_spaces(world(), random_matrix(2 * t, 12, 8), random_matrix(2 * t + 1, 12, 8), {}, o).measures.at("principal_angles").p);
    expect_level(p, {0.05, 0.01, 0.001}, false, fmt::format("principal angles of {} directions", k));
  }
}

/// Memory that does not hold the tables of permutations: the law takes over, and the result says so.
TEST(Levels, OfTheLawThatReplacesPermutationsForMemoryHold) {
  auto o = small_options({"rsa", "rsa_pearson"});
  o.permutations = 9;
  o.memory_gib = 1e-6;
  PValues p;
  for (std::uint64_t t = 0; t < 1000; ++t)
    for (const auto& [name, m] : compare_spaces(world(), random_matrix(2 * t, 24, 3), random_matrix(2 * t + 1, 24, 3), {}, o).measures) {
      p[name].push_back(m.p);
      EXPECT_EQ(m.p_from, PFrom::law_for_memory);
    }
  for (const auto& [name, values] : p) expect_level(values, {0.05, 0.01, 0.001}, false, name + " for memory");
}

TEST(Power, APlantedLikenessIsFoundByEveryMeasure) {
  auto o = small_options(shuffled_measures);
  o.permutations = 199;
  std::map<std::string, int> found;
  std::map<std::string, int> by_law;
  const int trials = 20;
  for (std::uint64_t t = 0; t < trials; ++t) {
    const Matrix x = random_matrix(2 * t, 40, 3);
    const Matrix y = plus(random_matrix(2 * t + 1, 40, 3), x, 2);
    o.kendall_samples = 2000;
    for (const auto& [name, m] : compare_spaces(world(), x, y, {}, o).measures) found[name] += m.p <= 0.01 ? 1 : 0;
    auto closed = o;
    closed.permutations = 0;
    for (const auto& [name, m] : compare_spaces(world(), x, y, {}, closed).measures) by_law[name] += m.p <= 0.001 ? 1 : 0;
  }
  for (const auto& name : shuffled_measures) EXPECT_GE(found[name], name == "svcca_rank1" ? 8 : 18) << name; // which component is first?
  for (const char* name : {"svcca_squared", "rsa", "rsa_pearson", "rsa_rho_a", "cka"}) EXPECT_GE(by_law[name], 18) << name;
}

/// Rows with false discovery rates over many pairs, and the max-statistic, of one kind each.
TEST(Levels, OfFalseDiscoveryRatesAndOfTheMaxStatisticHold) {
  auto o = small_options({"cka"});
  o.permutations = 39;
  std::vector<double> least_q;
  std::vector<double> least_p;
  for (std::uint64_t t = 0; t < 300; ++t) {
    std::vector<double> p;
    std::vector<double> scores;
    std::vector<std::vector<double>> nulls;
    const Matrix x = kinds_of_data[t % 4].draw(5 * t, 12, 3);
    for (std::uint64_t pair = 0; pair < 4; ++pair) {
      const auto m = compare_spaces(world(), x, kinds_of_data[t % 4].draw(5 * t + 1 + pair, 12, 3), {}, o).measures.at("cka");
      if (m.shuffled.values.empty()) continue;
      p.push_back(m.p);
      scores.push_back(m.score);
      nulls.push_back(m.shuffled.values);
    }
    if (p.empty()) continue;
    const auto least = [](const std::vector<double>& values) {
      double smallest = 1;
      for (const double v : values) smallest = std::min(smallest, std::isnan(v) ? 1 : v);
      return smallest;
    };
    least_q.push_back(least(false_discovery_rates(p)));
    least_p.push_back(least(max_statistic_p(scores, nulls)));
  }
  expect_level(least_q, {0.05, 0.1, 0.5}, false, "q");
  expect_level(least_p, {0.05, 0.1, 0.5}, false, "max p");
}

/// calibrated is above 0 in no more than `level` of the cases.
TEST(Levels, OfCalibratedScoresHold) {
  auto o = small_options({"rsa", "cka", "mutual_knn", "procrustes"});
  o.permutations = 19;
  o.level = 0.1;
  std::map<std::string, std::vector<double>> above;
  for (const auto& data : kinds_of_data)
    for (std::uint64_t t = 0; t < 250; ++t) {
      o.seed = t;
      for (const auto& [name, m] : compare_spaces(world(), data.draw(2 * t, 12, 3), data.draw(2 * t + 1, 12, 3), {}, o).measures)
        if (!std::isnan(m.calibrated)) above[name].push_back(m.calibrated > 0 ? 0.1 : 1);
    }
  for (const auto& [name, values] : above) expect_level(values, {0.1}, false, name + ", calibrated");
}

// --- estimates against exact values -------------------------------------------------------------------------------------

std::vector<double> stepped(std::vector<double> entries) {
  for (double& e : entries) e = std::nearbyint(std::ldexp(e, 40));
  return entries;
}

double tau(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t p = 0; p < a.size(); ++p)
    for (std::size_t q = p + 1; q < a.size(); ++q) sum += ((a[p] < a[q]) - (a[p] > a[q])) * ((b[p] < b[q]) - (b[p] > b[q]));
  const auto n = static_cast<double>(a.size());
  return 2 * sum / (n * (n - 1));
}

/// The reported error is a standard error: twice it covers the truth in 95 % of the draws, near 1 as well.
TEST(Estimates, KendallsErrorCoversTheTruth) {
  for (const double noise : {1.0, 0.01, 0.0}) {
    const Matrix x = random_matrix(1, 20, 4);
    const Matrix y = plus(x, random_matrix(2, 20, 4), noise);
    const double truth = tau(stepped(correlation_rdm(x)), stepped(correlation_rdm(y)));
    RsaOptions o;
    o.kendall_samples = 400;
    int covered = 0;
    double sum = 0;
    for (std::uint64_t t = 0; t < 200; ++t) {
      o.seed = t;
      const auto r = Rsa(world(), x, y, o).result();
      covered += std::abs(r.kendall - truth) <= 1.96 * r.kendall_error ? 1 : 0;
      sum += r.kendall;
    }
    EXPECT_GE(covered, 181) << noise; // 190 less three standard deviations
    EXPECT_NEAR(sum / 200, truth, 0.01) << noise;
  }
}

TEST(Estimates, EqualTheirExactValuesOnSmallSpaces) {
  for (const auto& data : kinds_of_data)
    for (const Index m : {4, 5, 8, 20}) {
      const Matrix x = data.draw(1, m, 6);
      const Matrix y = data.draw(2, m, 6);
      const auto r = Rsa(world(), x, y, {}).result();
      if (!r.reason.empty()) continue; // equal rows or constant ones
      const auto a = stepped(correlation_rdm(x));
      const auto b = stepped(correlation_rdm(y));
      EXPECT_NEAR(r.spearman, pearson(average_ranks(a), average_ranks(b)), 1e-12) << data.name << " " << m;
      EXPECT_NEAR(r.pearson, pearson(a, b), 1e-6) << data.name << " " << m;
    }
}

} // namespace
} // namespace concord::similarity
