// Small spaces against compare_spaces(), which looks at the rows themselves.
#include "concord/similarity/compare_spaces.hpp"
#include "concord/subspaces/likeness/small_spaces.hpp"

#include "subspaces/worlds.hpp"
#include <numeric>

namespace concord::subspaces {
namespace {

using namespace worlds;

struct Rows {
  Index n = 0, d = 0;
  std::vector<double> values;
  SmallSpace space() const { return {values, n, d}; }
};

/// Of a rank at most.
Rows random_rows(std::uint64_t seed, Index n, Index d, Index rank) {
  const Philox random(seed, "rows");
  Rows rows{n, d, std::vector<double>(at(n * d))};
  const auto left = [&](Index i, Index r) { return random.normal(static_cast<std::uint64_t>(1000 * i + r)); };
  const auto right = [&](Index r, Index j) { return random.normal(static_cast<std::uint64_t>(1'000'000 + 1000 * r + j)); };
  for (Index i = 0; i < n; ++i)
    for (Index j = 0; j < d; ++j) {
      double& value = rows.values[at(i * d + j)];
      value = 0.3;
      if (rank >= std::min(n, d)) value += random.normal(static_cast<std::uint64_t>(2'000'000 + 1000 * i + j));
      for (Index r = 0; rank < std::min(n, d) && r < rank; ++r) value += left(i, r) * right(r, j);
    }
  return rows;
}

/// Rows that share part of what they are.
Rows mixed(const Rows& a, const Rows& b, double share) {
  Rows rows = b;
  for (Index i = 0; i < b.n; ++i)
    for (Index j = 0; j < b.d; ++j) rows.values[at(i * b.d + j)] += share * a.values[at(i * a.d + j % a.d)];
  return rows;
}

std::vector<Index> identity(Index n) {
  std::vector<Index> order(at(n));
  std::iota(order.begin(), order.end(), Index{0});
  return order;
}

SmallScores scores_of(const Rows& x, const Rows& y, Index k, const std::vector<Index>& order) {
  return small_scores(SmallSide(x.space(), identity(x.n), k), SmallSide(y.space(), identity(y.n), k), order);
}

SmallScores whole_scores(const Rows& x, const Rows& y, Index k, const std::vector<Index>& order) {
  const similarity::Matrix of_x{x.n, x.d, x.values};
  const similarity::Matrix of_y = similarity::Matrix{y.n, y.d, y.values}.rows_of(order);
  similarity::SpaceOptions options;
  options.measures = {"rsa", "cka_debiased", "procrustes", "svcca"};
  options.svcca.k = k;
  options.permutations = 0;
  const auto compared = similarity::compare_spaces(alone(), of_x, of_y, {}, options);
  SmallScores scores;
  for (int i = 0; i < small_measures; ++i) scores[at(i)] = compared.measures.at(name_of_small_measure(i)).score;
  return scores;
}

void expect_near(const SmallScores& a, const SmallScores& b, double tolerance) {
  for (int i = 0; i < small_measures; ++i)
    EXPECT_TRUE((std::isnan(a[at(i)]) && std::isnan(b[at(i)])) || std::abs(a[at(i)] - b[at(i)]) <= tolerance)
        << name_of_small_measure(i) << " " << a[at(i)] << " " << b[at(i)];
}

TEST(SmallSpaces, EqualCompareSpaces) {
  for (const Index n : {4, 5, 8, 13, 30})
    for (const Index d : {3, 17, 64})
      for (const Index rank : {1, 2, 5, 1000})
        for (const Index k : {Index{1}, n < 8 ? Index{1} : Index{3}}) { // so that svcca is not 1 whatever the rows
          SCOPED_TRACE(fmt::format("{} rows of {}, rank {}, k {}", n, d, rank, k));
          const auto seed = static_cast<std::uint64_t>(100 * n + 10 * d + rank);
          const Rows x = random_rows(seed, n, d, rank);
          const Rows y = mixed(x, random_rows(seed + 1, n, d + 2, 1000), 0.5);
          const Rows low = random_rows(seed + 2, n, d + 1, rank);
          for (const auto& order : {identity(n), shuffled(n, Philox(seed, "order"))}) {
            expect_near(scores_of(x, y, k, order), whole_scores(x, y, k, order), 1e-9);
            expect_near(scores_of(y, low, k, order), whole_scores(y, low, k, order), 1e-9);
          }
        }
}

/// Rows may be picked, in any order.
TEST(SmallSpaces, OfSomeRows) {
  const Rows x = random_rows(1, 20, 9, 1000);
  const Rows y = random_rows(2, 25, 11, 1000);
  const std::vector<Index> of_x{3, 19, 0, 7, 11, 12};
  const std::vector<Index> of_y{24, 2, 5, 6, 1, 13};
  const auto picked = [](const Rows& rows, const std::vector<Index>& some) {
    Rows part{static_cast<Index>(some.size()), rows.d, {}};
    for (const Index i : some)
      part.values.insert(part.values.end(), rows.values.begin() + i * rows.d, rows.values.begin() + (i + 1) * rows.d);
    return part;
  };
  const auto order = identity(6);
  expect_near(small_scores(SmallSide(x.space(), of_x, 2), SmallSide(y.space(), of_y, 2), order),
              whole_scores(picked(x, of_x), picked(y, of_y), 2, order), 1e-9);
}

TEST(SmallSpaces, DoNotSeeRotationAndScale) {
  const Rows x = random_rows(3, 14, 6, 1000);
  const Rows y = mixed(x, random_rows(4, 14, 6, 1000), 0.7);
  Rows turned = y; // two plane rotations, and scaled
  for (const auto& [p, q, angle] : {std::tuple{0, 3, 0.7}, {3, 5, -1.9}})
    for (Index i = 0; i < y.n; ++i) {
      double& a = turned.values[at(i * y.d + p)];
      double& b = turned.values[at(i * y.d + q)];
      std::tie(a, b) = std::pair(std::cos(angle) * a - std::sin(angle) * b, std::sin(angle) * a + std::cos(angle) * b);
    }
  for (double& value : turned.values) value *= 37.5;
  const auto before = scores_of(x, y, 3, identity(14));
  const auto after = scores_of(x, turned, 3, identity(14));
  for (const int i : {1, 2, 3})
    EXPECT_NEAR(before[at(i)], after[at(i)], 1e-10) << name_of_small_measure(i); // 1 - Pearson does see rotation
  for (double& value : turned.values) value = 2 * value + 1;
  const auto itself = scores_of(x, x, 3, identity(14));
  for (int i = 0; i < small_measures; ++i) EXPECT_NEAR(itself[at(i)], 1, 1e-10);
  expect_near(scores_of(y, x, 3, identity(14)), before, 1e-10);
  Rows scaled = y;
  for (double& value : scaled.values) value *= 0.01;
  expect_near(scores_of(x, scaled, 3, identity(14)), before, 1e-10);
}

TEST(SmallSpaces, AreNotDefinedBelowFourRows) {
  for (const Index n : {0, 1, 3}) {
    const Rows x = random_rows(5, n, 6, 1000);
    for (const double score : scores_of(x, x, 2, identity(n))) EXPECT_TRUE(std::isnan(score)) << n;
  }
  const Rows x = random_rows(5, 5, 6, 1000);
  const Rows y = random_rows(5, 6, 6, 1000);
  for (const double score : scores_of(x, y, 2, identity(5))) EXPECT_TRUE(std::isnan(score)) << "different numbers of rows";
}

/// Equal rows have equal dissimilarities, whatever rounding makes of them.
TEST(SmallSpaces, OfEqualRows) {
  Rows x = random_rows(8, 12, 33, 1000);
  for (const Index row : {5, 9, 11}) std::copy_n(x.values.begin(), 33, x.values.begin() + row * 33);
  const Rows y = mixed(x, random_rows(9, 12, 33, 1000), 1);
  expect_near(scores_of(x, y, 1, identity(12)), whole_scores(x, y, 1, identity(12)), 1e-9);
}

TEST(SmallSpaces, OfConstantRows) {
  Rows x = random_rows(6, 8, 5, 1000);
  for (Index j = 0; j < 5; ++j) x.values[at(2 * 5 + j)] = 0.1 + (j == 1 ? 1e-17 : 0); // has no correlation
  const Rows y = random_rows(7, 8, 5, 1000);
  const auto some = scores_of(x, y, 2, identity(8));
  EXPECT_TRUE(std::isnan(some[0]));
  const auto whole = whole_scores(random_rows(6, 8, 5, 1000), y, 2, identity(8));
  EXPECT_FALSE(std::isnan(whole[0]));
  for (const int i : {1, 2, 3}) EXPECT_FALSE(std::isnan(some[at(i)]));
  Rows same = x; // all rows are one
  for (std::size_t i = 0; i < same.values.size(); ++i) same.values[i] = static_cast<double>(i % 5);
  const auto none = scores_of(same, y, 2, identity(8));
  for (int i = 0; i < small_measures; ++i) EXPECT_TRUE(std::isnan(none[at(i)])) << name_of_small_measure(i) << " " << none[at(i)];
}

} // namespace
} // namespace concord::subspaces
