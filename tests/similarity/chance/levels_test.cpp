// Levels of what compare prints. Of each p: where its null holds, p <= alpha comes about in a share alpha of the cases, with small spaces,
// ties, heavy tails and strata that allow few permutations; and a planted likeness is found. Of each sampled or rounded estimate: it is
// the exact value where that can be had, and its error covers the truth.
#include "concord/core/philox.hpp"
#include "concord/similarity/chance/permutation.hpp"
#include "concord/similarity/compare_spaces.hpp"

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
    {"rare: nearly all zeros",
     [](std::uint64_t s, Index r, Index c) {
       return mapped(random_matrix(s, r, c), [](double v) { return v > 1 ? std::exp(2 * v) : 0; });
     }},
};

bool is_continuous(const Data& data) {
  return std::string(data.name) == "normal" || std::string(data.name) == "heavy tails";
}

/// Shares of p <= alpha at most alpha, within three and a half standard deviations; `uniform`: also at least.
/// `allowed`: times alpha.
void expect_level(std::vector<double> p, const std::vector<double>& alphas, bool uniform, const std::string& what, double allowed = 1) {
  p.erase(std::remove_if(p.begin(), p.end(), [](double v) { return std::isnan(v); }), p.end());
  const auto n = static_cast<double>(p.size());
  if (n < 20) return; // hardly ever defined for such data
  for (const double alpha : alphas) {
    const double spread = 3.5 * std::sqrt(n * alpha * (1 - alpha)) + 1;
    const auto found = static_cast<double>(std::count_if(p.begin(), p.end(), [&](double v) { return v <= alpha * (1 + 1e-9); }));
    EXPECT_LE(found, allowed * alpha * n + spread) << what << " at " << alpha << " of " << n;
    if (uniform) {
      EXPECT_GE(found, alpha * n - spread) << what << " at " << alpha << " of " << n;
    }
  }
}

const std::vector<std::string> shuffled_measures{"svcca",     "svcca_squared", "svcca_rank1", "pwcca",        "rsa",        "rsa_pearson",
                                                 "rsa_rho_a", "rsa_kendall",   "cka",         "cka_debiased", "procrustes", "mutual_knn"};
/// Those that have a law of their own.
const std::vector<std::string> lawful_measures{"svcca_squared", "svcca_rank1", "rsa", "rsa_pearson", "rsa_rho_a", "cka"};

TEST(Levels, AreTestedOfEveryMeasure) {
  auto tested = shuffled_measures;
  tested.emplace_back("principal_angles");
  EXPECT_EQ(tested, std::vector<std::string>(all_measures.begin(), all_measures.end()));
}

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

/// Shuffled pairings: 1,000 draws of each kind of data, all of whose p are multiples of 1/20, and 1/100.
TEST(Levels, OfShuffledPairingsHold) {
  for (const auto& [permutations, alphas] : {std::pair<Index, std::vector<double>>{19, {0.05, 0.1, 0.5}}, {99, {0.01, 0.05, 0.1}}}) {
    auto o = small_options(shuffled_measures);
    o.permutations = permutations;
    for (const auto& data : kinds_of_data) {
      PValues p;
      for (std::uint64_t t = 0; t < 1000; ++t) {
        o.seed = t;
        for (const auto& [name, m] : compare_spaces(world(), data.draw(2 * t, 12, 3), data.draw(2 * t + 1, 12, 3), {}, o).measures)
          p[name].push_back(m.p);
      }
      for (const auto& [name, values] : p)
        expect_level(values, alphas, is_continuous(data) && name != "mutual_knn" && name != "rsa_kendall",
                     fmt::format("{}, {}, {} shuffles", name, data.name, permutations));
    }
  }
}

/// The far tail: 1,000 draws with 999 shuffles.
TEST(Levels, OfShuffledPairingsHoldInTheTail) {
  auto o = small_options({"rsa", "mutual_knn"});
  o.permutations = 999;
  for (const auto& data : {kinds_of_data[0], kinds_of_data[3]}) {
    PValues p;
    for (std::uint64_t t = 0; t < 1000; ++t) {
      o.seed = t;
      for (const auto& [name, m] : compare_spaces(world(), data.draw(2 * t, 16, 3), data.draw(2 * t + 1, 16, 3), {}, o).measures)
        p[name].push_back(m.p);
    }
    for (const auto& [name, values] : p)
      expect_level(values, {0.05, 0.01, 0.001}, is_continuous(data) && name != "mutual_knn", name + ", 999 shuffles, " + data.name);
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

/// Spaces both of which are a function of the stratum; beyond it they share `shared` times something.
struct Stratified {
  Matrix x, y;
  SpaceFacts facts;
};
Stratified in_strata(const Data& data, std::uint64_t t, const std::vector<Index>& strata, double shared) {
  const auto rows = static_cast<Index>(strata.size());
  Stratified s{data.draw(4 * t, rows, 3), data.draw(4 * t + 1, rows, 3), {}};
  s.y = plus(s.y, s.x, shared);
  s.facts.strata = strata;
  const Matrix of_strata = random_matrix(7, rows, 3);
  for (Index i = 0; i < rows; ++i)
    for (Index c = 0; c < 3; ++c)
      for (Matrix* m : {&s.x, &s.y})
        m->values[static_cast<std::size_t>(i * 3 + c)] += 3 * of_strata.at(strata[static_cast<std::size_t>(i)], c);
  return s;
}

/// Shuffles within strata keep their level; with strata that allow the identity alone p is 1, with two orders 1/2 at least.
TEST(Levels, OfStratifiedPairingsHold) {
  auto o = small_options(shuffled_measures);
  o.permutations = 0;
  o.stratified = 99;
  const std::vector<std::pair<double, std::vector<Index>>> cases{// the share of orders that leave the score as it is, at least
                                                                 {0, {0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2}},
                                                                 {0, {0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5}},
                                                                 {0.5, {0, 0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}},
                                                                 {1, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}}};
  for (const auto& data : kinds_of_data)
    for (const auto& [identities, strata] : cases) {
      PValues p;
      for (std::uint64_t t = 0; t < (identities > 0 ? 40 : 300); ++t) {
        const auto s = in_strata(data, t, strata, 0);
        o.seed = t;
        for (const auto& [name, m] : compare_spaces(world(), s.x, s.y, s.facts, o).measures) p[name].push_back(m.stratified.p);
      }
      for (const auto& [name, values] : p) {
        for (const double v : values)
          if (!std::isnan(v)) {
            EXPECT_GE(v, identities - 3.5 * std::sqrt(identities * (1 - identities) / 99)) << name;
          }
        expect_level(values, {0.01, 0.05, 0.1, 0.5}, false, fmt::format("{} in {} strata, {}", name, strata.back() + 1, data.name));
      }
    }
}

/// Subsets: the kept rows are a random subset as well.
TEST(Levels, OfRandomSubsetsHold) {
  auto o = small_options(std::vector<std::string>(all_measures.begin(), all_measures.end()));
  o.permutations = 0;
  o.subsets = 19;
  for (const auto& data : {kinds_of_data[0], kinds_of_data[1], kinds_of_data[2], kinds_of_data[4]}) {
    PValues p;
    for (std::uint64_t t = 0; t < 300; ++t) {
      const Matrix x = data.draw(2 * t, 30, 3);
      const Matrix y = plus(data.draw(2 * t + 1, 30, 3), x, 1);
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
    for (const auto& [name, values] : p)
      expect_level(values, {0.05, 0.1, 0.5}, false, fmt::format("{} against subsets, {}", name, data.name));
  }
}

/// Closed forms: where nothing is shuffled, tails by three exact moments.
TEST(Levels, OfClosedFormsHoldInTheTail) {
  auto o = small_options(lawful_measures);
  o.permutations = 0;
  for (const auto& data : kinds_of_data)
    for (const auto& [rows, trials] : {std::pair<Index, std::uint64_t>{12, 1000}, {24, 3000}}) {
      PValues p;
      for (std::uint64_t t = 0; t < trials; ++t)
        for (const auto& [name, m] : compare_spaces(world(), data.draw(2 * t, rows, 3), data.draw(2 * t + 1, rows, 3), {}, o).measures) {
          p[name].push_back(m.p);
          if (!std::isnan(m.p)) {
            EXPECT_EQ(m.p_from, PFrom::law) << name;
          }
        }
      for (const auto& [name, values] : p) {
        // Three moments say little of rows that are nearly all zeros: docs/reliability.md.
        const double allowed = std::string(data.name).starts_with("rare") ? 1.6 : 1;
        expect_level(values, {0.05, 0.01, 0.001}, false, fmt::format("{} in closed form, {} rows, {}", name, rows, data.name), allowed);
        const auto found = std::count_if(values.begin(), values.end(), [](double v) { return v <= 0.05; });
        if (is_continuous(data)) {
          EXPECT_GE(static_cast<double>(found), 0.02 * static_cast<double>(trials))
              << name << ", " << data.name; // it is no law that never speaks
        }
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
  auto o = small_options({"rsa", "rsa_pearson", "rsa_rho_a"});
  o.permutations = 9;
  o.memory_gib = 1e-6;
  for (const auto& data : kinds_of_data) {
    PValues p;
    for (std::uint64_t t = 0; t < 1000; ++t)
      for (const auto& [name, m] : compare_spaces(world(), data.draw(2 * t, 24, 3), data.draw(2 * t + 1, 24, 3), {}, o).measures) {
        p[name].push_back(m.p);
        if (!std::isnan(m.p)) {
          EXPECT_EQ(m.p_from, PFrom::law_for_memory);
        }
      }
    for (const auto& [name, values] : p) expect_level(values, {0.05, 0.01, 0.001}, false, name + " for memory, " + data.name);
  }
}

/// By shuffles, within strata, against subsets, by the law, and by `calibrated`.
TEST(Power, APlantedLikenessIsFoundByEveryMeasure) {
  auto o = small_options(shuffled_measures);
  o.permutations = 199;
  o.stratified = 199;
  std::map<std::string, int> found, within, calibrated, by_law, above_subsets;
  const int trials = 20;
  std::vector<Index> strata;
  for (Index i = 0; i < 40; ++i) strata.push_back(i % 4);
  for (std::uint64_t t = 0; t < trials; ++t) {
    const Matrix x = random_matrix(2 * t, 40, 3);
    const Matrix y = plus(random_matrix(2 * t + 1, 40, 3), x, 2);
    o.kendall_samples = 2000;
    for (const auto& [name, m] : compare_spaces(world(), x, y, {}, o).measures) {
      found[name] += m.p <= 0.01 ? 1 : 0;
      calibrated[name] += m.calibrated > 0 ? 1 : 0;
    }
    const auto s = in_strata(kinds_of_data[0], t, strata, 3);
    for (const auto& [name, m] : compare_spaces(world(), s.x, s.y, s.facts, o).measures) within[name] += m.stratified.p <= 0.05 ? 1 : 0;
    auto closed = o;
    closed.permutations = closed.stratified = 0;
    closed.subsets = 39;
    SpaceFacts facts;
    facts.subset = [&](Index number) {
      return std::pair{random_matrix(100 + 2 * t, 40, 3), random_matrix(1000 + static_cast<std::uint64_t>(number), 40, 3)};
    };
    for (const auto& [name, m] : compare_spaces(world(), x, y, facts, closed).measures) {
      by_law[name] += m.p <= 0.001 ? 1 : 0;
      above_subsets[name] += m.subsets.p <= 0.05 ? 1 : 0;
    }
  }
  for (const auto& name : shuffled_measures) { // of the first component alone: which one is first?
    const int enough = name == "svcca_rank1" ? 8 : 18;
    EXPECT_GE(found[name], enough) << name;
    EXPECT_GE(calibrated[name], enough) << name;
    EXPECT_GE(within[name], enough) << name;
    EXPECT_GE(above_subsets[name], enough) << name;
  }
  for (const auto& name : lawful_measures) EXPECT_GE(by_law[name], name == "svcca_rank1" ? 6 : 18) << name;
}

TEST(Power, CommonDirectionsAreFoundByPrincipalAngles) {
  auto o = small_options({"principal_angles"});
  o.permutations = 0;
  o.svcca.k = 3;
  int found = 0;
  for (std::uint64_t t = 0; t < 20; ++t) {
    const Matrix directions = random_matrix(7 * t, 3, 30);
    const auto space = [&](std::uint64_t seed) {
      return plus(times(random_matrix(seed, 12, 3), directions), random_matrix(seed + 1, 12, 30), 0.3);
    };
    found += compare_spaces(world(), space(7 * t + 1), space(7 * t + 3), {}, o).measures.at("principal_angles").p <= 0.001 ? 1 : 0;
  }
  EXPECT_GE(found, 18);
}

/// False discovery rates over pairs of layers, and the max-statistic: nothing is called where nothing is there, what is there is found.
TEST(Levels, OfFalseDiscoveryRatesAndOfTheMaxStatisticHold) {
  auto o = small_options({"cka", "rsa", "mutual_knn"});
  o.permutations = 99;
  const auto least = [](const std::vector<double>& values) {
    double smallest = 1;
    for (const double v : values) smallest = std::min(smallest, std::isnan(v) ? 1 : v);
    return smallest;
  };
  for (const double planted : {0.0, 2.0}) { // into one pair of four
    PValues q, max_p;
    std::map<std::string, double> found, false_share;
    const std::uint64_t trials = planted > 0 ? 100 : 1000;
    for (std::uint64_t t = 0; t < trials; ++t) {
      o.seed = t; // ties are broken by lots of the seed: the level holds over these, too
      const Data& data = kinds_of_data[planted > 0 ? 0 : t % kinds_of_data.size()];
      const Matrix x = data.draw(5 * t, 12, 3);
      std::map<std::string, std::vector<double>> p, scores;
      std::map<std::string, std::vector<std::vector<double>>> nulls;
      for (std::uint64_t pair = 0; pair < 4; ++pair) {
        const Matrix y = plus(data.draw(5 * t + 1 + pair, 12, 3), x, pair == 0 ? planted : 0);
        for (const auto& [name, m] : compare_spaces(world(), x, y, {}, o).measures) {
          if (m.shuffled.values.empty()) continue;
          p[name].push_back(m.p);
          scores[name].push_back(m.score);
          nulls[name].push_back(m.shuffled.values);
        }
      }
      for (const auto& [name, values] : p) {
        const auto rates = false_discovery_rates(values);
        const auto of_all = max_statistic_p(scores[name], nulls[name]);
        q[name].push_back(least(rates));
        max_p[name].push_back(least(of_all));
        if (planted == 0) continue;
        found[name] += rates[0] <= 0.05 && of_all[0] <= 0.05 ? 1 : 0;
        const auto called = static_cast<double>(std::count_if(rates.begin(), rates.end(), [](double v) { return v <= 0.05; }));
        if (called > 0) false_share[name] += (called - (rates[0] <= 0.05 ? 1 : 0)) / called;
      }
    }
    for (const auto& [name, values] : q) {
      if (planted == 0) {
        expect_level(values, {0.05, 0.1, 0.5}, false, name + ", q");
        expect_level(max_p[name], {0.01, 0.05, 0.1, 0.5}, false, name + ", max p");
      } else {
        EXPECT_GE(found[name], name == "mutual_knn" ? 40 : 90) << name;
        EXPECT_LE(false_share[name] / static_cast<double>(trials), 0.05 + 3.5 * 0.15 / std::sqrt(static_cast<double>(trials))) << name;
      }
    }
  }
}

/// calibrated is above 0 in no more than `level` of the cases.
TEST(Levels, OfCalibratedScoresHold) {
  auto o = small_options(shuffled_measures);
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
