// RSA and mutual k-nearest neighbours against plain references; tiles, ranks, threads and memory change nothing.
#include "concord/core/philox.hpp"
#include "concord/similarity/rsa/rsa.hpp"

#include "similarity/measures/nearest.hpp"
#include "similarity/oracle.hpp"
#include "similarity/rsa/key_map.hpp"
#include "support/support.hpp"
#include <cmath>
#include <functional>
#include <set>

namespace concord::similarity {
namespace {

using namespace oracle;
using test::world;

RsaResult compare(const Matrix& x, const Matrix& y, RsaOptions o = {}) {
  return Rsa(world(), x, y, o).result();
}

/// Dissimilarities in the program's steps, so that equal ones tie.
std::vector<double> rounded(std::vector<double> entries) {
  for (double& e : entries) e = std::nearbyint(std::ldexp(std::clamp(e, 0.0, 2.0), step_bits - 1));
  return entries;
}

Matrix some(std::uint64_t seed, Index rows, Index cols) {
  return plus(random_matrix(seed, rows, cols), times(random_matrix(50, rows, 3), random_matrix(seed + 7, 3, cols)), 1);
}

TEST(Rsa, EqualsTheOracle) {
  const Matrix x = some(1, 60, 9);
  const Matrix y = some(2, 60, 14);
  const auto a = correlation_rdm(x);
  const auto b = correlation_rdm(y);
  const auto r = compare(x, y);
  EXPECT_NEAR(r.spearman, pearson(average_ranks(a), average_ranks(b)), 1e-12);
  EXPECT_NEAR(r.pearson, pearson(a, b), 1e-8);
}

/// Where items are few, rounding does not move rho at all; beyond, by no more than the header says.
TEST(Rsa, EqualsTheOracleAtSizesOfMatchedFeatures) {
  for (const auto& [rows, tolerance] : {std::pair{300, 1e-12}, {whole_rows, 1e-12}, {whole_rows + 1, 1e-7}}) {
    const Matrix x = some(1, rows, 9);
    const Matrix y = some(2, rows, 14);
    const double expected = pearson(average_ranks(rounded(correlation_rdm(x))), average_ranks(rounded(correlation_rdm(y))));
    EXPECT_NEAR(compare(x, y).spearman, expected, tolerance) << rows;
  }
}

/// Two spaces that crowd about one direction: distances of some `size`.
std::pair<Matrix, Matrix> crowded(double size, Index rows, Index outliers) {
  const auto squeeze = [&](Matrix m, std::uint64_t seed) {
    const Matrix direction = random_matrix(seed, 1, m.cols);
    for (Index i = 0; i < m.rows; ++i)
      for (Index c = 0; c < m.cols; ++c) {
        double& value = m.values[static_cast<std::size_t>(i * m.cols + c)];
        if (i >= outliers) value = direction.at(0, c) + std::sqrt(size) * value;
      }
    return m;
  };
  return {squeeze(some(1, rows, 9), 60), squeeze(some(2, rows, 14), 61)};
}

/// Keys that are told apart by absolute steps would tie most of these. With and without rows that point elsewhere, few and many entries.
TEST(Rsa, TellsSmallDistancesApart) {
  for (const double size : {1e-4, 1e-6, 1e-8})
    for (const Index outliers : {0, 3})
      for (const Index rows : {Index{60}, Index{300}, whole_rows + 1}) {
        const auto [x, y] = crowded(size, rows, outliers);
        const auto a = correlation_rdm(x);
        const auto b = correlation_rdm(y);
        const auto r = compare(x, y);
        EXPECT_EQ(r.reason, "");
        EXPECT_NEAR(r.spearman, pearson(average_ranks(a), average_ranks(b)), 1e-5) << size << " " << outliers << " " << rows;
        EXPECT_NEAR(r.pearson, pearson(a, b), 1e-6) << size << " " << outliers << " " << rows;
      }
}

TEST(Rsa, IsNotDefinedWhereRoundingOrdersTheEntries) {
  for (const Index rows : {Index{60}, whole_rows + 1}) {
    const auto [x, y] = crowded(1e-12, rows, 0);
    RsaOptions o;
    o.neighbours = 5;
    const auto r = compare(x, y, o);
    EXPECT_NE(r.reason.find("rows are too much alike"), std::string::npos) << r.reason << " " << r.spearman;
    EXPECT_EQ(r.neighbours_x.k, 0);
  }
}

TEST(KeyMap, KeepsTheOrderAndTellsApartWhatCrowds) {
  const Philox random(5, "values");
  const double unit = std::ldexp(1.0, step_bits - 1);
  // Spread; all near 1; two crowds; small ones; over many orders of magnitude.
  const std::vector<std::function<double(std::uint64_t)>> laws{
      [&](std::uint64_t i) { return 2 * random.uniform(i); },
      [&](std::uint64_t i) { return 1 + 1e-7 * random.normal(i); },
      [&](std::uint64_t i) { return (i % 2 == 0 ? 0.3 : 0.7) + 1e-6 * random.normal(i); },
      [&](std::uint64_t i) { return 1e-8 * random.uniform(i); },
      [&](std::uint64_t i) { return std::exp(-15 * random.uniform(i)); },
  };
  for (std::size_t law = 0; law < laws.size(); ++law) {
    std::vector<double> values;
    for (std::uint64_t i = 0; i < 40000; ++i) values.push_back(std::nearbyint(unit * laws[law](i)));
    const KeyMap narrow({values.begin(), values.begin() + 20000}, false, 20);
    const KeyMap map = narrow.lost() <= 1e-6 ? narrow : KeyMap({values.begin(), values.begin() + 20000}, false, 23);
    std::sort(values.begin(), values.end());
    std::vector<double> keys;
    for (std::size_t i = 0; i < values.size(); ++i) {
      keys.push_back(map(values[i]));
      EXPECT_LT(keys.back(), static_cast<double>(map.keys()));
      if (i == 0) continue;
      EXPECT_GE(keys[i], keys[i - 1]) << law;
      EXPECT_GE(map.fine(values[i], map(values[i])), map.fine(values[i - 1], map(values[i - 1]))) << law;
    }
    EXPECT_LE(map.keys(), 1 << 23);
    EXPECT_NEAR(pearson(average_ranks(keys), average_ranks(values)), 1, 1e-6) << law;
  }
}

TEST(KeyMap, OfAllValuesGivesEachItsOwn) {
  const Philox random(6, "values");
  const double unit = std::ldexp(1.0, step_bits - 1);
  const std::vector<std::function<double(std::uint64_t)>> laws{
      [&](std::uint64_t i) { return 2 * random.uniform(i); },
      [&](std::uint64_t i) { return i == 0 ? 2.0 : 1e-9 * random.uniform(i); }, // one far away
      [&](std::uint64_t i) { return 0.25 * static_cast<double>(random.below(i, 5)); },
      [&](std::uint64_t) { return 0.5; },
  };
  for (const auto& law : laws)
    for (const std::uint64_t count : {1, 2, 1000}) {
      std::vector<double> values;
      for (std::uint64_t i = 0; i < count; ++i) values.push_back(std::nearbyint(unit * law(i)));
      const KeyMap map(values, true, 20);
      std::sort(values.begin(), values.end());
      Key key = 0;
      double lowest = values.front();
      for (std::size_t i = 0; i < values.size(); ++i) {
        if (values[i] - lowest > 4) { // else no further apart than rounding: equal
          ++key;
          lowest = values[i];
        }
        EXPECT_EQ(map(values[i]), key) << values[i];
      }
      EXPECT_EQ(map.keys(), static_cast<Index>(key) + 1);
    }
}

TEST(Rsa, RhoAAndTiesFollowTheirDefinitions) {
  Matrix x = random_matrix(1, 12, 5);
  for (Index c = 0; c < 5; ++c) x.values[static_cast<std::size_t>(5 * 5 + c)] = x.at(2, c); // two equal rows: ties
  const Matrix y = random_matrix(2, 12, 5);
  const auto ra = average_ranks(rounded(correlation_rdm(x)));
  const auto rb = average_ranks(rounded(correlation_rdm(y)));
  const auto n = static_cast<double>(ra.size());
  double sum = 0;
  for (std::size_t i = 0; i < ra.size(); ++i) sum += (ra[i] - (n + 1) / 2) * (rb[i] - (n + 1) / 2);
  const auto r = compare(x, y);
  EXPECT_NEAR(r.rho_a, 12 * sum / (n * n * n - n), 1e-13);
  EXPECT_LE(std::abs(r.rho_a), std::abs(r.spearman) + 1e-15);
  EXPECT_NEAR(r.rho_a, r.spearman * r.rho_a_of_spearman, 1e-14);
  EXPECT_NEAR(r.ties_x, 10 * 6 / (n * n * n - n), 1e-12); // ten pairs of tied entries, 2^3 - 2 each
}

TEST(Rsa, IsTheSameForAnyTilesThreadsMemoryAndRanks) {
  Matrix x = some(1, 70, 700);
  for (Index c = 0; c < 700; ++c) x.values[static_cast<std::size_t>(65 * 700 + c)] = x.at(2, c); // equal rows in different tiles
  const Matrix y = some(2, 70, 300);
  const auto alone = world().split(world().rank());
  RsaOptions o;
  o.neighbours = 5;
  o.kendall_samples = 300;
  const auto expected = Rsa(alone, x, y, o).result();
  for (const Index tile : {1, 7, 32, 512})
    for (const int threads : {1, 3})
      for (const double memory : {0.0, 4e9}) {
        o.tile = tile;
        o.threads = threads;
        o.memory = memory;
        const auto r = Rsa(world(), x, y, o).result();
        EXPECT_EQ(r.spearman, expected.spearman) << tile << " " << threads << " " << memory;
        EXPECT_EQ(r.pearson, expected.pearson);
        EXPECT_EQ(r.kendall, expected.kendall);
        EXPECT_EQ(r.ties_x, expected.ties_x);
        EXPECT_EQ(r.spearman_chance.sd, expected.spearman_chance.sd);
        EXPECT_EQ(r.neighbours_x.items, expected.neighbours_x.items);
        EXPECT_EQ(r.neighbours_y.items, expected.neighbours_y.items);
      }
}

TEST(Rsa, IsInvariantToAffineRowsAndToMonotoneMapsOfAnRdm) {
  const Matrix x = random_matrix(1, 40, 9);
  const Matrix z = random_matrix(5, 40, 9);
  Matrix y = x;
  for (Index i = 0; i < 40; ++i)
    for (Index c = 0; c < 9; ++c)
      y.values[static_cast<std::size_t>(i * 9 + c)] = (1.0 + static_cast<double>(i)) * x.at(i, c) + 3.0 * static_cast<double>(i);
  EXPECT_EQ(compare(x, x).spearman, 1);
  EXPECT_NEAR(compare(x, y).spearman, 1, 1e-9);
  // Cosine distances of unit rows are half their squared Euclidean distances: a monotone map.
  Matrix unit = z;
  for (Index i = 0; i < 40; ++i) {
    double squares = 0;
    for (Index c = 0; c < 9; ++c) squares += z.at(i, c) * z.at(i, c);
    for (Index c = 0; c < 9; ++c) unit.values[static_cast<std::size_t>(i * 9 + c)] /= std::sqrt(squares);
  }
  RsaOptions cosine;
  cosine.kind = RdmKind::cosine;
  RsaOptions euclidean;
  euclidean.kind = RdmKind::euclidean;
  const Rdm a(unit, RdmKind::cosine);
  const Rdm b(unit, RdmKind::euclidean);
  std::vector<double> room(18);
  std::vector<double> keys_a;
  std::vector<double> keys_b;
  for (Index i = 0; i < 40; ++i)
    for (Index j = i + 1; j < 40; ++j) {
      keys_a.push_back(a.dissimilarity(i, j, room.data()));
      keys_b.push_back(b.dissimilarity(i, j, room.data()));
    }
  EXPECT_NEAR(pearson(average_ranks(keys_a), average_ranks(keys_b)), 1, 1e-6);
}

TEST(Rdm, EuclideanKeysAreDistancesAndEqualRowsAreAtZero) {
  Matrix x = affine(random_matrix(1, 20, 6), 1, 1e4); // far from the origin, where squares would swallow the distances
  for (Index c = 0; c < 6; ++c) x.values[static_cast<std::size_t>(7 * 6 + c)] = x.at(3, c);
  const Rdm rdm(x, RdmKind::euclidean);
  std::vector<double> room(12);
  std::vector<double> keys;
  std::vector<double> distances;
  for (Index i = 0; i < 20; ++i)
    for (Index j = i + 1; j < 20; ++j) {
      double square = 0;
      for (Index c = 0; c < 6; ++c) square += std::pow(x.at(i, c) - x.at(j, c), 2);
      distances.push_back(std::sqrt(square));
      keys.push_back(rdm.dissimilarity(i, j, room.data()));
    }
  EXPECT_NEAR(pearson(keys, distances), 1, 1e-10);
  EXPECT_EQ(rdm.dissimilarity(3, 7, room.data()), 0);
}

TEST(Rsa, SaysWhyItIsUndefined) {
  Matrix x = random_matrix(1, 10, 4);
  for (Index c = 0; c < 4; ++c) x.values[static_cast<std::size_t>(6 * 4 + c)] = 0.1;
  EXPECT_NE(compare(random_matrix(2, 10, 4), x).reason.find("row 6 of Y is constant"), std::string::npos);
  RsaOptions cosine;
  cosine.kind = RdmKind::cosine;
  EXPECT_EQ(compare(random_matrix(2, 10, 4), x, cosine).reason, "");
  RsaOptions euclidean;
  euclidean.kind = RdmKind::euclidean;
  EXPECT_EQ(compare(random_matrix(2, 10, 4), Matrix{10, 4, std::vector<double>(40, 3.0)}, euclidean).reason, "an RDM is constant");
  EXPECT_EQ(compare(random_matrix(2, 3, 4), random_matrix(1, 3, 4)).reason, "3 matched rows are too few");
}

TEST(Rsa, PermutedScoresEqualThoseOfPermutedRows) {
  const Matrix x = some(1, 50, 6);
  const Matrix y = some(2, 50, 8);
  RsaOptions o;
  o.permute = true;
  o.kendall_samples = 400;
  const Rsa rsa(world(), x, y, o);
  const auto order = shuffled(50, Philox(3, "order"));
  const auto again = compare(x, y.rows_of(order), o);
  EXPECT_NEAR(rsa.spearman_of(order), again.spearman, 1e-13);
  EXPECT_NEAR(rsa.pearson_of(order), again.pearson, 1e-13);
  EXPECT_EQ(rsa.kendall_of(order), again.kendall);
  o.memory = 2e4; // tables of 50 x 50 do not fit
  EXPECT_FALSE(Rsa(world(), x, y, o).permutes_ranks());
}

TEST(Kendall, SampleAgreesWithAllPairsWithinItsError) {
  const Matrix x = some(1, 25, 6);
  const Matrix y = some(2, 25, 8);
  const auto a = rounded(correlation_rdm(x));
  const auto b = rounded(correlation_rdm(y));
  double sum = 0;
  for (std::size_t p = 0; p < a.size(); ++p)
    for (std::size_t q = p + 1; q < a.size(); ++q) sum += ((a[p] < a[q]) - (a[p] > a[q])) * ((b[p] < b[q]) - (b[p] > b[q]));
  const auto n = static_cast<double>(a.size());
  RsaOptions o;
  o.kendall_samples = 20000;
  const auto r = compare(x, y, o);
  EXPECT_NEAR(r.kendall, 2 * sum / (n * (n - 1)), 4 * r.kendall_error);
  EXPECT_GT(r.kendall_error, 0.003);
  EXPECT_LT(r.kendall_error, 0.01);
}

TEST(MutualKnn, EqualsTheDefinitionAndIsOneForEqualSpaces) {
  const Matrix x = some(1, 40, 6);
  const Matrix y = some(2, 40, 8);
  RsaOptions o;
  o.neighbours = 5;
  const auto r = compare(x, y, o);
  const auto nearest = [](const Matrix& m) {
    const auto entries = rounded(correlation_rdm(m));
    std::vector<std::set<Index>> sets(40);
    for (Index i = 0; i < 40; ++i) {
      std::vector<std::pair<double, Index>> others;
      for (Index j = 0; j < 40; ++j)
        if (j != i) {
          const Index p = std::min(i, j);
          const Index q = std::max(i, j);
          others.emplace_back(entries[static_cast<std::size_t>(p * 40 - p * (p + 1) / 2 + q - p - 1)], j);
        }
      std::sort(others.begin(), others.end());
      for (int n = 0; n < 5; ++n) sets[static_cast<std::size_t>(i)].insert(others[static_cast<std::size_t>(n)].second);
    }
    return sets;
  };
  const auto a = nearest(x);
  const auto b = nearest(y);
  Index shared = 0;
  for (std::size_t i = 0; i < 40; ++i)
    for (const Index item : a[i]) shared += b[i].contains(item) ? 1 : 0;
  std::vector<Index> identity(40);
  std::iota(identity.begin(), identity.end(), Index{0});
  EXPECT_EQ(mutual_knn(r.neighbours_x, r.neighbours_y, identity), static_cast<double>(shared) / 200);
  EXPECT_EQ(mutual_knn(r.neighbours_x, r.neighbours_x, identity), 1);
  const auto order = shuffled(40, Philox(3, "order"));
  EXPECT_EQ(mutual_knn(r.neighbours_x, r.neighbours_y, order),
            mutual_knn(r.neighbours_x, compare(x, y.rows_of(order), o).neighbours_y, identity));
}

/// Neighbours at equal distances count in an order that says nothing: other for each item and side, the same for any tiles and ranks.
TEST(MutualKnn, ChoosesAmongEqualDistancesAtRandom) {
  const Index m = 60;
  Matrix x{m, 5, std::vector<double>(static_cast<std::size_t>(m * 5), 1.0)};
  for (Index i = 0; i < m; ++i) x.values[static_cast<std::size_t>(i * 5 + i % 2)] = 3; // two sorts of rows
  RsaOptions o;
  o.neighbours = 4;
  const auto expected = Rsa(world().split(world().rank()), x, x, o).result();
  std::vector<int> chosen(static_cast<std::size_t>(m), 0);
  for (Index i = 0; i < m; ++i)
    for (Index n = 0; n < 4; ++n) {
      const auto near = expected.neighbours_x.items[static_cast<std::size_t>(i * 4 + n)];
      EXPECT_EQ(near % 2, i % 2) << "no equal row";
      ++chosen[static_cast<std::size_t>(near)];
    }
  EXPECT_LT(*std::max_element(chosen.begin(), chosen.end()), 14); // 4 on average
  EXPECT_NE(expected.neighbours_x.items, expected.neighbours_y.items);
  for (const Index tile : {1, 7, 512}) {
    o.tile = tile;
    const auto r = compare(x, x, o);
    EXPECT_EQ(r.neighbours_x.items, expected.neighbours_x.items);
    EXPECT_EQ(r.neighbours_y.items, expected.neighbours_y.items);
  }
}

TEST(TieOrder, IsOneToOneAndKnowsItsWayBack) {
  const TieOrder ties(3, 9, 1);
  std::set<std::uint32_t> places;
  for (std::uint32_t other = 0; other < 2000; ++other) {
    places.insert(ties.place(2, other));
    EXPECT_EQ(ties.other(2, ties.place(2, other)), other);
  }
  EXPECT_EQ(places.size(), 2000U);
  EXPECT_NE(ties.place(2, 5), ties.place(1, 5));
}

TEST(Kendall, IsExactWhereAllPairsOfEntriesAreFew) {
  for (const Index m : {4, 8, 25}) {
    Matrix x = some(1, m, 6);
    const Matrix y = some(2, m, 8);
    const auto a = rounded(correlation_rdm(x));
    const auto b = rounded(correlation_rdm(y));
    double sum = 0;
    for (std::size_t p = 0; p < a.size(); ++p)
      for (std::size_t q = p + 1; q < a.size(); ++q) sum += ((a[p] < a[q]) - (a[p] > a[q])) * ((b[p] < b[q]) - (b[p] > b[q]));
    const auto n = static_cast<double>(a.size());
    RsaOptions o;
    o.kendall_samples = 100000;
    const auto r = compare(x, y, o);
    EXPECT_NEAR(r.kendall, 2 * sum / (n * (n - 1)), 1e-15);
    EXPECT_EQ(r.kendall_error, 0);
    EXPECT_EQ(compare(x, x, o).kendall, 1);
    o.permute = true;
    const auto order = shuffled(m, Philox(3, "order"));
    EXPECT_EQ(Rsa(world(), x, y, o).kendall_of(order), compare(x, y.rows_of(order), o).kendall);
  }
}

} // namespace
} // namespace concord::similarity
