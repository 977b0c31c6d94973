#include "concord/core/digest.hpp"
#include "concord/core/philox.hpp"
#include "concord/correlate/matching.hpp"
#include "concord/correlate/pearson.hpp"

#include "support/support.hpp"
#include <algorithm>
#include <cmath>

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
};

std::vector<Expected> plain_best(const io::CsrMatrix& of, const io::CsrMatrix& among, Index column, Index shift_of, Index shift_among) {
  const auto rotate = [](std::vector<double> x, Index shift) {
    std::rotate(x.begin(), x.begin() + shift, x.end());
    return x;
  };
  const auto x = rotate(dense(of, column), shift_of);
  std::vector<Expected> all;
  for (Index j = 0; j < among.cols; ++j) {
    const double r = plain_pearson(x, rotate(dense(among, j), shift_among));
    if (!std::isnan(r)) all.push_back({r, static_cast<std::int32_t>(j)});
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
    EXPECT_EQ(got.partner[at], expected[static_cast<std::size_t>(p)].partner);
  }
}

class Shifts : public testing::TestWithParam<Index> {};

TEST_P(Shifts, EqualThePlainDefinitionOnDensifiedColumns) {
  const auto a = random_csr(1, 300, 23, 0.1);
  const auto b = random_csr(2, 300, 31, 0.15);
  const auto pair = best_correlations(world(), a, b, 5, GetParam());
  for (Index i = 0; i < a.cols; ++i) expect_equal(pair.a_to_b, plain_best(a, b, i, 0, GetParam()), i);
  for (Index j = 0; j < b.cols; ++j) expect_equal(pair.b_to_a, plain_best(b, a, j, GetParam(), 0), j);
}
INSTANTIATE_TEST_SUITE_P(Rows, Shifts, testing::Values(0, 1, 150, 299));

TEST(Pearson, SameBitsAtAnyRanks) {
  const auto pair = best_correlations(world(), random_csr(1, 500, 40, 0.1), random_csr(2, 500, 50, 0.1), 4);
  const auto alone = best_correlations(world().split(world().rank()), random_csr(1, 500, 40, 0.1), random_csr(2, 500, 50, 0.1), 4);
  EXPECT_EQ(pair.a_to_b.r, alone.a_to_b.r);
  EXPECT_EQ(pair.a_to_b.partner, alone.a_to_b.partner);
  EXPECT_EQ(pair.b_to_a.r, alone.b_to_a.r);
  EXPECT_EQ(pair.b_to_a.cofire, alone.b_to_a.cofire);
}

TEST(Pearson, MoreRanksThanFeatures) {
  const auto a = random_csr(1, 60, 3, 0.5);
  const auto pair = best_correlations(world(), a, a, 2);
  EXPECT_EQ(pair.a_to_b.partner[0], -1); // dead
  EXPECT_EQ(pair.a_to_b.partner[2], -1); // constant
  EXPECT_EQ(pair.a_to_b.partner[4], 2);
  EXPECT_NEAR(pair.a_to_b.r[4], 1.0, 1e-14);
}

TEST(Pearson, RecoversAPlantedPermutation) {
  const auto a = random_csr(5, 400, 30, 0.1);
  io::CsrMatrix b = a; // column c of a is column 29 - (c - 3) of b, for the columns that vary
  for (auto& index : b.indices)
    if (index > 2) index = 32 - index;
  const auto pair = best_correlations(world(), a, b, 2);
  for (std::int32_t i = 3; i < 30; ++i) {
    EXPECT_EQ(pair.a_to_b.partner[static_cast<std::size_t>(2 * i)], 32 - i);
    EXPECT_EQ(pair.b_to_a.partner[static_cast<std::size_t>(2 * i)], 32 - i);
    EXPECT_NEAR(pair.a_to_b.r[static_cast<std::size_t>(2 * i)], 1.0, 1e-14);
  }
}

TEST(Pearson, CountsCofiring) {
  const io::CsrMatrix a{4, 1, {0, 1, 2, 2, 3}, {0, 0, 0}, {1, 2, 4}};
  const io::CsrMatrix b{4, 1, {0, 0, 1, 2, 3}, {0, 0, 0}, {1, 5, 2}};
  const auto pair = best_correlations(world(), a, b, 1);
  EXPECT_EQ(pair.a_to_b.cofire[0], 2);
}

/// b_to_a best partners as given, a_to_b best partners as given, r of every choice.
PairCorrelation hand_made(std::vector<std::int32_t> b_to_a, std::vector<double> r, std::vector<std::int32_t> a_to_b) {
  PairCorrelation pair;
  pair.b_to_a = {1, std::move(b_to_a), std::move(r), {}};
  const std::vector<double> ones(a_to_b.size(), 1.0);
  pair.a_to_b = {1, std::move(a_to_b), ones, {}};
  return pair;
}

TEST(Matching, FollowsEachPairingRule) {
  // B features 0, 1 and 3 choose A feature 0, which prefers 3; B 2 chooses A 1, which prefers it; B 4 has no partner.
  const auto pair = hand_made({0, 0, 1, 0, -1}, {0.3, 0.8, 0.6, 0.9, 0}, {3, 2});
  const std::vector<Index> counts_a{50, 50};
  const std::vector<Index> counts_b{50, 50, 50, 50, 0};
  MatchRules rules;
  using Flags = std::vector<std::uint8_t>;
  EXPECT_EQ(match(pair, rules, counts_a, counts_b, {}, {}).kept, (Flags{0, 0, 1, 1, 0}));
  rules.pairing = Pairing::many_to_one;
  EXPECT_EQ(match(pair, rules, counts_a, counts_b, {}, {}).kept, (Flags{1, 1, 1, 1, 0}));
  rules.pairing = Pairing::one_to_one; // the first of three, not the best: the published rule
  EXPECT_EQ(match(pair, rules, counts_a, counts_b, {}, {}).kept, (Flags{1, 0, 1, 0, 0}));
  rules.min_r = 0.3; // the cut comes last, so 0 is dropped and nobody moves up
  const auto cut = match(pair, rules, counts_a, counts_b, {}, {});
  EXPECT_EQ(cut.kept, (Flags{0, 0, 1, 0, 0}));
  EXPECT_EQ(cut.counts, (std::array<Index, filter_steps>{4, 4, 4, 2, 1}));
}

TEST(Matching, FiltersRareFeaturesAndTokens) {
  const auto pair = hand_made({0, 1, 2}, {0.9, 0.9, 0.9}, {0, 1, 2});
  const std::vector<Index> counts{50, 50, 9};
  MatchRules rules;
  EXPECT_EQ(match(pair, rules, counts, counts, {}, {}).kept, (std::vector<std::uint8_t>{1, 1, 0}));
  const TopTokens a{{" king", " queen"}, {" the", ","}, {" x"}};
  const TopTokens b{{" queen"}, {" the"}, {" x"}};
  rules.min_firings = 0;
  rules.drop_non_concept = true;
  EXPECT_EQ(match(pair, rules, counts, counts, a, b).kept, (std::vector<std::uint8_t>{1, 0, 1}));
  rules.drop_non_concept = false;
  rules.need_shared_token = true;
  EXPECT_EQ(match(pair, rules, counts, counts, a, {{" Queen"}, {" the"}, {" x"}}).kept, (std::vector<std::uint8_t>{0, 1, 1}));
}

} // namespace
} // namespace concord::correlate
