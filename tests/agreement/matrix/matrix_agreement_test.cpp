// The agreement test against worked numbers, against dummies and least squares over all permutations (numpy), and its parts by hand.
#include "concord/agreement/matrix/matrix_agreement.hpp"
#include "concord/agreement/ranks.hpp"
#include "concord/core/philox.hpp"

#include "agreement/golden.hpp"
#include "agreement/matrix/crossing.hpp"
#include "agreement/matrix/two_way.hpp"
#include "support/support.hpp"
#include <cmath>
#include <map>
#include <numeric>

namespace concord::agreement {
namespace {

using golden::numbers;
using golden::record;
using Values = std::vector<double>;

const double nan = std::nan("");
const Values worked_a{0, 5, 1, 2, 6, 0, 2, 1, 1, 3, 0, 7, 2, 1, 8, 0};
const Values worked_b{0, 4, 2, 1, 7, 0, 1, 3, 2, 1, 0, 6, 1, 2, 5, 0};
const Values worked_z{0, 1, 0, 2, 1, 0, 3, 0, 0, 3, 0, 1, 2, 0, 1, 0};

Values random_matrix(std::uint64_t seed, Index c) {
  const Philox random(seed, "matrix");
  Values m(static_cast<std::size_t>(c * c));
  for (std::size_t i = 0; i < m.size(); ++i) m[i] = random.normal(i);
  return m;
}

Values plus(Values x, const Values& y, double factor) {
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += factor * y[i];
  return x;
}

std::vector<Index> blocks(Index groups, Index size) {
  std::vector<Index> out;
  for (Index g = 0; g < groups; ++g) out.insert(out.end(), static_cast<std::size_t>(size), g);
  return out;
}

Values off_diagonal(const Values& m, Index c) {
  Values out;
  for (Index i = 0; i < c; ++i)
    for (Index j = 0; j < c; ++j)
      if (i != j) out.push_back(m[static_cast<std::size_t>(i * c + j)]);
  return out;
}

void expect_near(const Values& got, const Values& expected, double tolerance) {
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], tolerance) << i;
}

TEST(TwoWayResiduals, GiveTheWorkedNumbers) {
  const auto mask = common_mask(4, {&worked_a});
  auto residuals = worked_a;
  TwoWay(4, mask).take_out(residuals);
  EXPECT_EQ(residuals[0], 0) << "the diagonal is outside the mask";
  expect_near(off_diagonal(residuals, 4), {2.875, -2.125, -0.75, 3.625, -1.5, -2.125, -2.375, -0.5, 2.875, -1.25, -2.375, 3.625}, 1e-12);
  expect_near(
      normal_scores(off_diagonal(worked_a, 4)),
      {0.548522, -0.967422, -0.104633, 0.812218, -0.104633, -0.967422, -0.967422, 0.318639, 1.150349, -0.104633, -0.967422, 1.731664},
      5e-7);
}

Index reached(const PermutationTest& test, double p) {
  return std::llround(p * static_cast<double>(test.count.looked_at));
}

TEST(MatrixAgreement, GivesTheWorkedNumbers) {
  const MatrixPair pair{4, {worked_a}, {worked_b}, {}, {1, 1, 2, 2}};
  const auto got = matrix_agreement(pair, {});
  EXPECT_NEAR(got.r, 0.5414278250, 1e-10);
  EXPECT_NEAR(got.t, 1.2879681397, 1e-10);
  EXPECT_EQ(got.df_each, std::vector<Index>{4});
  EXPECT_NEAR(got.spearman, 0.4779411765, 1e-10);
  EXPECT_TRUE(got.free.count.enumerated);
  EXPECT_EQ(got.free.count.all, 24);
  EXPECT_EQ(got.grouped.count.all, 8);
  EXPECT_EQ(reached(got.free, got.free.p), 6);
  EXPECT_EQ(reached(got.free, got.free.p_spearman), 8);
  EXPECT_EQ(reached(got.grouped, got.grouped.p), 6);
  auto with_covariate = pair;
  with_covariate.covariates = {worked_z};
  const auto partial = matrix_agreement(with_covariate, {});
  EXPECT_NEAR(partial.r, 0.9792923786, 1e-10);
  EXPECT_NEAR(partial.t, 8.3782423380, 1e-9);
  EXPECT_EQ(partial.df_each, std::vector<Index>{3});
  EXPECT_EQ(reached(partial.free, partial.free.p), 4);
  EXPECT_EQ(reached(partial.grouped, partial.grouped.p), 4);
}

TEST(MatrixAgreement, EqualsLeastSquaresOverAllPermutations) {
  for (const auto& c : record()["agreement"]) {
    MatrixPair pair;
    for (const auto& m : c["a"]) pair.a.push_back(numbers(m));
    for (const auto& m : c["b"]) pair.b.push_back(numbers(m));
    for (const auto& m : c["covariates"]) pair.covariates.push_back(numbers(m));
    pair.groups = c["groups"].get<std::vector<Index>>();
    pair.concepts = static_cast<Index>(pair.groups.size());
    const auto got = matrix_agreement(pair, {});
    expect_near(got.r_each, numbers(c["r"]), 1e-12);
    expect_near(got.t_each, numbers(c["t"]), 1e-10);
    EXPECT_EQ(got.df_each, c["df"].get<std::vector<Index>>());
    EXPECT_NEAR(got.robust_t, c["robust_t"].get<double>(), 1e-10);
    EXPECT_NEAR(got.spearman, c["spearman"].get<double>(), 1e-12);
    EXPECT_EQ(got.covariates, static_cast<Index>(pair.covariates.size()));
    for (const auto* kind : {"free", "grouped"}) {
      const auto& test = kind == std::string("free") ? got.free : got.grouped;
      EXPECT_EQ(test.count.looked_at, c["counts"][kind][3].get<Index>()) << kind;
      EXPECT_EQ(reached(test, test.p_robust), c["counts"][kind][2].get<Index>()) << kind;
      EXPECT_EQ(reached(test, test.p), c["counts"][kind][0].get<Index>()) << kind;
      EXPECT_EQ(reached(test, test.p_spearman), c["counts"][kind][1].get<Index>()) << kind;
    }
  }
}

TEST(MatrixAgreement, PlainSpearmanIsMantelsOfScikitBio) {
  const auto& m = record()["mantel"];
  const auto got = matrix_agreement({3, {numbers(m["x"])}, {numbers(m["y"])}, {}, {}}, {});
  EXPECT_TRUE(std::isnan(got.r)); // three concepts have no entry to spare
  EXPECT_NE(got.reason.find("too few"), std::string::npos);
  const auto x = off_diagonal(numbers(m["x"]), 3);
  EXPECT_NEAR(spearman(x, off_diagonal(numbers(m["y"]), 3)), m["spearman"].get<double>(), 1e-12);
}

/// What row, column and covariate effects are does not matter, nor does the scale of a matrix.
TEST(MatrixAgreement, DoesNotSeeScaleOrDiagonal) {
  const Index c = 9;
  const auto shared = random_matrix(1, c);
  MatrixPair pair{c, {plus(random_matrix(2, c), shared, 1)}, {plus(random_matrix(3, c), shared, 1)}, {random_matrix(4, c)}, blocks(3, 3)};
  const auto before = matrix_agreement(pair, {99, 5});
  for (double& v : pair.a[0]) v = std::exp(3 * v);
  for (Index i = 0; i < c; ++i) pair.b[0][static_cast<std::size_t>(i * c + i)] = nan;
  const auto after = matrix_agreement(pair, {99, 5});
  EXPECT_EQ(after.r, before.r);
  EXPECT_EQ(after.grouped.p, before.grouped.p);
  EXPECT_EQ(after.kept.size(), 9U);
  EXPECT_EQ(after.undefined_entries, 0);
}

TEST(MatrixAgreement, LeavesUndefinedConceptsOut) {
  const Index c = 8;
  const auto shared = random_matrix(1, c);
  MatrixPair pair{c, {plus(random_matrix(2, c), shared, 1)}, {plus(random_matrix(3, c), shared, 1)}, {}, {0, 0, 1, 1, 2, 2, 3, 3}};
  for (Index j = 0; j < c; ++j) pair.a[0][static_cast<std::size_t>(3 * c + j)] = nan; // its row alone
  const auto got = matrix_agreement(pair, {});
  EXPECT_EQ(got.kept, (std::vector<Index>{0, 1, 2, 4, 5, 6, 7}));
  EXPECT_EQ(got.undefined_entries, 0);
  EXPECT_EQ(got.grouped.count.all, 2U * 2 * 2 * 6); // three groups of two and one of one
  MatrixPair small{7, {{}}, {{}}, {}, {0, 0, 1, 2, 2, 3, 3}};
  for (const Index i : got.kept)
    for (const Index j : got.kept) {
      small.a[0].push_back(pair.a[0][static_cast<std::size_t>(i * c + j)]);
      small.b[0].push_back(pair.b[0][static_cast<std::size_t>(i * c + j)]);
    }
  const auto expected = matrix_agreement(small, {});
  EXPECT_EQ(got.r, expected.r);
  EXPECT_EQ(got.grouped.p, expected.grouped.p);
}

TEST(MatrixAgreement, SaysWhyItIsUndefined) {
  const Index c = 5;
  Values additive(25);
  for (std::size_t i = 0; i < 5; ++i)
    for (std::size_t j = 0; j < 5; ++j) additive[5 * i + j] = 1;
  const auto constant = matrix_agreement({c, {additive}, {random_matrix(1, c)}, {}, blocks(1, 5)}, {});
  EXPECT_TRUE(std::isnan(constant.grouped.p));
  EXPECT_NE(constant.reason.find("leave nothing"), std::string::npos);
  const auto empty = matrix_agreement({c, {Values(25, nan)}, {random_matrix(1, c)}, {}, {}}, {});
  EXPECT_TRUE(empty.kept.empty());
  EXPECT_FALSE(empty.reason.empty());
  EXPECT_TRUE(std::isnan(empty.free.p));
  test::expect_error(ExitCode::internal, "16 entries", [&] { matrix_agreement({c, {worked_a}, {random_matrix(1, c)}, {}, {}}, {}); });
  test::expect_error(ExitCode::internal, "one or two", [&] { matrix_agreement({4, {worked_a, worked_a}, {worked_b}, {}, {}}, {}); });
}

/// A constant covariate, or one that rows and columns make up, takes no degree of freedom.
TEST(MatrixAgreement, DropsCovariatesThatSayNothing) {
  const Index c = 6;
  const MatrixPair pair{c, {random_matrix(1, c)}, {random_matrix(2, c)}, {Values(36, 2.0), random_matrix(3, c), random_matrix(3, c)}, {}};
  const auto got = matrix_agreement(pair, {});
  EXPECT_EQ(got.covariates, 1);
  EXPECT_EQ(got.df_each.front(), 30 - 11 - 1 - 1);
}

TEST(MatrixAgreement, OfEqualMatricesIsOneAndSmallest) {
  const auto m = random_matrix(1, 6);
  const auto got = matrix_agreement({6, {m, m}, {m, m}, {}, blocks(2, 3)}, {});
  EXPECT_NEAR(got.r, 1, 1e-12);
  EXPECT_EQ(got.grouped.p, got.grouped.count.smallest_p);
  EXPECT_EQ(got.grouped.count.smallest_p, 1.0 / 72);
  EXPECT_EQ(got.free.p, 1.0 / 720);
}

TEST(MatrixAgreement, CrossesTheHalves) {
  const Index c = 7;
  const std::vector<Values> a{random_matrix(1, c), random_matrix(2, c)}, b{random_matrix(3, c), random_matrix(4, c)};
  const auto got = matrix_agreement({c, a, b, {}, {}}, {0, 0});
  EXPECT_NEAR(got.r_each[0], agreement_r({c, {a[0]}, {b[1]}, {}, {}}), 1e-15);
  EXPECT_NEAR(got.r_each[1], agreement_r({c, {a[1]}, {b[0]}, {}, {}}), 1e-15);
  EXPECT_NEAR(got.r, (got.r_each[0] + got.r_each[1]) / 2, 1e-15);
  EXPECT_NEAR(got.t, (got.t_each[0] + got.t_each[1]) / 2, 1e-14);
  EXPECT_TRUE(std::isnan(got.free.p)); // no permutations were wanted
}

TEST(ConceptPermutations, AreCounted) {
  const ConceptPermutations free(32, {}, 0);
  EXPECT_NEAR(free.count(9999).log_all, std::lgamma(33.0), 1e-10);
  EXPECT_EQ(free.count(9999).all, 0U);
  EXPECT_EQ(free.count(9999).looked_at, 9999);
  EXPECT_EQ(free.count(9999).smallest_p, 1e-4);
  EXPECT_NEAR(ConceptPermutations(32, blocks(8, 4), 0).count(9999).log_all, std::log(40320.0) + 8 * std::log(24.0), 1e-10);
  EXPECT_EQ(ConceptPermutations(32, blocks(8, 4), 0).count(99).all, 4438236667576320U);
  EXPECT_EQ(ConceptPermutations(6, {5, 5, 5, 7, 7, 9}, 0).count(99).all, 12U);
  EXPECT_EQ(ConceptPermutations(8, {}, 0).count(99).looked_at, 40320);
  EXPECT_TRUE(ConceptPermutations(8, {}, 0).count(99).enumerated);
  EXPECT_FALSE(ConceptPermutations(9, {}, 0).count(40320).enumerated);
  EXPECT_EQ(ConceptPermutations(1, {0}, 0).count(99).smallest_p, 1); // the identity alone
}

/// All are different and keep groups; drawn ones come about equally often.
TEST(ConceptPermutations, KeepGroups) {
  const std::vector<Index> groups{0, 1, 0, 2, 1, 3, 3, 3};
  const ConceptPermutations permutations(8, groups, 1);
  const auto all = permutations.count(99).all;
  EXPECT_EQ(all, 2U * 2 * 2 * 6); // two groups of two change places, one of three and one of one stay
  std::map<std::vector<Index>, int> seen;
  permutations.each(99, [&](const std::vector<Index>& order) {
    ++seen[order];
    for (std::size_t i = 0; i < 8; ++i)
      for (std::size_t j = 0; j < 8; ++j)
        EXPECT_EQ(groups[i] == groups[j], groups[static_cast<std::size_t>(order[i])] == groups[static_cast<std::size_t>(order[j])]);
  });
  EXPECT_EQ(seen.size(), all);
  EXPECT_EQ(permutations.numbered(0), (std::vector<Index>{0, 1, 2, 3, 4, 5, 6, 7}));
  for (auto& [order, n] : seen) n = 0;
  for (Index k = 0; k < 4800; ++k) ++seen[permutations.drawn(k)];
  EXPECT_EQ(seen.size(), all);
  double chi_square = 0;
  for (const auto& [order, n] : seen) chi_square += (n - 100.0) * (n - 100.0) / 100;
  EXPECT_LT(chi_square, 47 + 3.5 * std::sqrt(2 * 47.0));
}

TEST(AgreementFamily, UsesOnePermutationForAll) {
  const Index c = 12;
  const auto shared = random_matrix(1, c);
  std::vector<MatrixPair> pairs;
  for (std::uint64_t i = 0; i < 4; ++i)
    pairs.push_back(
        {c, {plus(random_matrix(10 + i, c), shared, i == 2 ? 1 : 0)}, {plus(random_matrix(20 + i, c), shared, 1)}, {}, blocks(3, 4)});
  const auto family = agreement_family(pairs, {499, 3});
  for (std::size_t i = 0; i < 4; ++i) {
    const auto alone = matrix_agreement(pairs[i], {499, 3});
    EXPECT_EQ(family[i].free.p, alone.free.p);
    EXPECT_EQ(family[i].grouped.p, alone.grouped.p);
    EXPECT_EQ(alone.grouped.p_max, alone.grouped.p);
    EXPECT_EQ(alone.grouped.p_max_robust, alone.grouped.p_robust);
    EXPECT_GE(family[i].free.p_max, alone.free.p);
    EXPECT_GE(family[i].grouped.p_max, alone.grouped.p);
    EXPECT_GE(family[i].grouped.p_max_robust, alone.grouped.p_robust);
  }
  EXPECT_LE(family[2].grouped.p_max, 0.01);
  // Of equal pairs the maximum is each one's own t.
  const auto equal = agreement_family({pairs[0], pairs[0]}, {199, 3});
  EXPECT_EQ(equal[0].free.p_max, equal[0].free.p);
  // A concept that one pair lacks is lacking in all.
  for (Index j = 0; j < c; ++j) pairs[3].b[0][static_cast<std::size_t>(j)] = nan;
  EXPECT_EQ(agreement_family(pairs, {19, 3})[0].kept.size(), 11U);
  pairs[1].groups[0] = 7;
  test::expect_error(ExitCode::internal, "different concepts or groups", [&] { agreement_family(pairs, {19, 3}); });
}

TEST(Sharing, PartsLookAtEachPermutationOnceAndAsOftenBetween) {
  for (const auto& [groups, wanted] : {std::pair{std::vector<Index>{}, Index{57}}, std::pair{blocks(2, 3), Index{99}}}) {
    const ConceptPermutations permutations(groups.empty() ? 12 : 6, groups, 5);
    std::vector<std::vector<Index>> expected, found;
    permutations.each(wanted, [&](const auto& order) { expected.push_back(order); });
    std::vector<Index> between(3);
    for (Index part = 0; part < 3; ++part)
      each_shared(permutations, wanted, {part, 3, {}, [&] { ++between[static_cast<std::size_t>(part)]; }}, 4,
                  [&](const auto& order) { found.push_back(order); });
    EXPECT_EQ(between[0], (static_cast<Index>(expected.size()) + 11) / 12);
    EXPECT_EQ(between, std::vector<Index>(3, between[0]));
    std::sort(expected.begin(), expected.end());
    std::sort(found.begin(), found.end());
    EXPECT_EQ(found, expected);
  }
}

/// Counts of three parts are added up by hand: each part first tells its own, then all are given the sums.
TEST(Sharing, GivesThePOfOne) {
  std::vector<MatrixPair> pairs;
  for (std::uint64_t i = 0; i < 2; ++i)
    pairs.push_back(
        {12, {random_matrix(i, 12), random_matrix(i + 10, 12)}, {random_matrix(i + 20, 12), random_matrix(i + 30, 12)}, {}, blocks(3, 4)});
  const auto expected = agreement_family(pairs, {99, 4});
  std::vector<std::vector<Index>> sums;
  for (Index part = 0; part < 3; ++part) {
    std::size_t call = 0;
    const auto tell = [&](std::vector<Index>& counts) {
      if (part == 0) sums.emplace_back(counts.size(), 0);
      for (std::size_t i = 0; i < counts.size(); ++i) sums[call][i] += counts[i];
      ++call;
    };
    agreement_family(pairs, {99, 4, {part, 3, tell, {}}});
  }
  std::size_t call = 0;
  const auto family = agreement_family(pairs, {99, 4, {2, 3, [&](std::vector<Index>& counts) { counts = sums[call++]; }, {}}});
  for (std::size_t i = 0; i < pairs.size(); ++i)
    for (const auto kind : {&Agreement::free, &Agreement::grouped})
      for (const auto p : {&PermutationTest::p, &PermutationTest::p_robust, &PermutationTest::p_spearman, &PermutationTest::p_max,
                           &PermutationTest::p_max_robust})
        EXPECT_EQ((family[i].*kind).*p, (expected[i].*kind).*p);
}

TEST(Reliability, GivesTheWorkedNumbers) {
  EXPECT_NEAR(0.41 / reliability_ceiling(0.75, 0.80), 0.5293077240, 1e-10);
  EXPECT_TRUE(std::isnan(reliability_ceiling(0.5, -0.1)));
  const auto single = reliability({4, {worked_a}, {worked_b}, {}, {}});
  EXPECT_TRUE(std::isnan(single.ceiling));
  EXPECT_FALSE(single.measurable);
}

/// One matrix, measured four times with as much noise: agreement of crossed halves is as large as a half's ceiling, and less than that of
/// all documents.
TEST(Reliability, OfOneMatrixGivesTheRatioOne) {
  const Index c = 32;
  double ratio = 0;
  double half_ratio = 0;
  for (std::uint64_t t = 0; t < 40; ++t) {
    const auto truth = random_matrix(5 * t, c);
    const auto noisy = [&](std::uint64_t i) { return plus(random_matrix(5 * t + i, c), truth, 1); };
    const auto rel = reliability({c, {noisy(1), noisy(2)}, {noisy(3), noisy(4)}, {}, {}});
    EXPECT_NEAR(rel.half_a, 0.5, 0.12);
    EXPECT_NEAR(rel.a, 2 * rel.half_a / (1 + rel.half_a), 1e-15);
    EXPECT_TRUE(rel.measurable);
    ratio += rel.ratio / 40;
    half_ratio += rel.half_ratio / 40;
  }
  EXPECT_NEAR(half_ratio, 1, 0.02);
  EXPECT_NEAR(ratio, 0.75, 0.02); // 0.5 / (2/3)
  const auto nothing = reliability({c, {random_matrix(1, c), random_matrix(2, c)}, {random_matrix(3, c), random_matrix(4, c)}, {}, {}});
  EXPECT_FALSE(nothing.measurable);
}

TEST(SameConceptContrast, EqualsAllPermutations) {
  const Index c = 6;
  auto m = random_matrix(1, c);
  for (Index i = 0; i < c; ++i) m[static_cast<std::size_t>(i * c + i)] += 0.8;
  m[static_cast<std::size_t>(2 * c + 5)] = nan;
  m[static_cast<std::size_t>(4 * c + 4)] = nan;
  const auto groups = blocks(3, 2);
  const auto contrast = [&](const std::vector<Index>& order) {
    double on = 0, off = 0, n_on = 0, n_off = 0;
    for (Index i = 0; i < c; ++i)
      for (Index j = 0; j < c; ++j) {
        const double v = m[static_cast<std::size_t>(i * c + order[static_cast<std::size_t>(j)])];
        if (std::isnan(v)) continue;
        (i == j ? on : off) += v;
        (i == j ? n_on : n_off) += 1;
      }
    return on / n_on - off / n_off;
  };
  std::vector<Index> order{0, 1, 2, 3, 4, 5};
  const double observed = contrast(order);
  Index free = 0, grouped = 0;
  do {
    const bool reached = contrast(order) >= observed - 1e-12;
    free += reached ? 1 : 0;
    bool keeps = true;
    for (std::size_t i = 0; i < 6; ++i) keeps = keeps && groups[static_cast<std::size_t>(order[i])] == groups[i];
    grouped += reached && keeps ? 1 : 0;
  } while (std::next_permutation(order.begin(), order.end()));
  const auto got = same_concept_contrast(m, c, groups, {});
  EXPECT_NEAR(got.contrast, observed, 1e-14);
  EXPECT_NEAR(got.contrast, got.diagonal - got.rest, 1e-14);
  EXPECT_EQ(got.free_count.all, 720U);
  EXPECT_EQ(got.grouped_count.all, 8U);
  EXPECT_NEAR(got.p_free, static_cast<double>(free) / 720, 1e-14);
  EXPECT_NEAR(got.p_grouped, static_cast<double>(grouped) / 8, 1e-14);
  for (Index j = 0; j < c; ++j) m[static_cast<std::size_t>(j * c)] = nan;
  EXPECT_EQ(same_concept_contrast(m, c, groups, {}).kept.size(), 5U);
}

TEST(SemanticAnswers, FindWhatWasPlanted) {
  const Index c = 24;
  Values similarity(static_cast<std::size_t>(c * c));
  const auto upper = random_matrix(1, c);
  for (Index i = 0; i < c; ++i)
    for (Index j = 0; j < c; ++j)
      similarity[static_cast<std::size_t>(i * c + j)] = upper[static_cast<std::size_t>(std::min(i, j) * c + std::max(i, j))];
  const auto shared = random_matrix(2, c);
  // A acts by similarity, B does not; both share something else, more so for pairs that are near.
  const auto make = [&](std::uint64_t seed, double by_similarity) {
    auto m = plus(plus(random_matrix(seed, c), shared, 0.8), similarity, by_similarity);
    return m;
  };
  const MatrixPair pair{c, {make(3, 0.7), make(4, 0.7)}, {make(5, 0), make(6, 0)}, {random_matrix(7, c)}, blocks(6, 4)};
  const auto got = semantic_answers(pair, similarity, {499, 1});
  EXPECT_LE(got.effect_a.free.p, 0.01);
  EXPECT_GT(got.effect_a.r, 0.3);
  EXPECT_GT(got.effect_b.free.p, 0.05);
  EXPECT_LE(got.beside.grouped.p, 0.01);
  EXPECT_EQ(got.beside.covariates, 2);
  EXPECT_GT(got.nearer.free.p, 0.01);
  // Differences that grow with distance.
  MatrixPair nearer{c, {shared}, {shared}, {}, {}};
  const auto noise = random_matrix(9, c);
  for (std::size_t i = 0; i < noise.size(); ++i) nearer.b[0][i] += noise[i] * std::exp(-similarity[i]);
  EXPECT_GT(semantic_answers(nearer, similarity, {199, 1}).nearer.r, 0.2);
  EXPECT_LE(semantic_answers(nearer, similarity, {199, 1}).nearer.free.p, 0.01);
}

TEST(AgreementIntervals, AreOfTheReplicates) {
  const Index c = 10;
  const auto shared = random_matrix(1, c);
  const auto make = [&](std::uint64_t seed) {
    return MatrixPair{c,
                      {plus(random_matrix(seed, c), shared, 1), plus(random_matrix(seed + 1, c), shared, 1)},
                      {plus(random_matrix(seed + 2, c), shared, 1), plus(random_matrix(seed + 3, c), shared, 1)},
                      {},
                      {}};
  };
  const auto pair = make(100);
  std::vector<double> r;
  const auto got = agreement_intervals(
      pair, 50,
      [&](Index b) {
        auto one = make(1000 + 4 * static_cast<std::uint64_t>(b));
        if (b == 7) one.a[0] = Values(100, nan); // its r does not count
        if (b != 7) r.push_back(agreement_r(one));
        return one;
      },
      0.8);
  EXPECT_EQ(got.replicates, 49);
  EXPECT_EQ(got.r.observed, agreement_r(pair));
  EXPECT_NEAR(got.r.percentile.low, quantile(r, 0.1), 1e-15);
  EXPECT_NEAR(got.r.percentile.high, quantile(r, 0.9), 1e-15);
  const double shift = got.r.observed - std::accumulate(r.begin(), r.end(), 0.0) / 49;
  EXPECT_NEAR(got.r.mean, got.r.observed - shift, 1e-14);
  EXPECT_NEAR(got.r.interval.low, got.r.percentile.low + shift, 1e-14);
  EXPECT_NEAR(got.r.interval.high, got.r.percentile.high + shift, 1e-14);
  EXPECT_EQ(got.half_ratio.observed, reliability(pair).half_ratio);
}

TEST(SelfLevel, IsTheLevelOnItsOwnNull) {
  const Index c = 24;
  const auto f = random_matrix(1, c);
  Values additive(static_cast<std::size_t>(c * c));
  for (Index i = 0; i < c; ++i)
    for (Index j = 0; j < c; ++j)
      additive[static_cast<std::size_t>(i * c + j)] = f[static_cast<std::size_t>(i)] + 0.7 * f[static_cast<std::size_t>(j)];
  const auto shared = random_matrix(2, c); // agreement is no part of the null
  const auto make = [&](std::uint64_t seed) { return plus(plus(random_matrix(seed, c), additive, 1), shared, 1); };
  MatrixPair pair{c, {make(3), make(4)}, {make(5), make(6)}, {random_matrix(7, c)}, blocks(4, 6)};
  pair.a[0][5] = nan;
  const auto level = self_level(pair, {.draws = 100, .permutations = 99, .alpha = 0.05, .seed = 1});
  EXPECT_EQ(level.draws, 100);
  EXPECT_LE(level.grouped, 0.13);
  EXPECT_LE(level.free, 0.13);
  EXPECT_LE(level.grouped_robust, 0.13);
  EXPECT_LE(level.free_robust, 0.13);
  EXPECT_GE(level.mantel, 0.9); // row and column effects are shared
  EXPECT_LE(level.grouped_interval.low, level.grouped);
  EXPECT_GE(level.grouped_interval.high, level.grouped);
}

} // namespace
} // namespace concord::agreement
