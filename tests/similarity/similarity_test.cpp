// SVCCA and its kin, CKA, Procrustes, permutations: invariants, plain references, what is not defined. Golden values of other libraries:
// tests/cli/test_compare_golden.py.
#include "concord/comm/stop.hpp"
#include "concord/core/philox.hpp"
#include "concord/linalg/dense.hpp"
#include "concord/similarity/chance/permutation.hpp"
#include "concord/similarity/compare.hpp"

#include "similarity/measures/procrustes.hpp"
#include "similarity/oracle.hpp"
#include "support/support.hpp"
#include <cmath>
#include <csignal>

namespace concord::similarity {
namespace {

using namespace oracle;
using test::expect_error;
using test::world;

/// Row i is a random rotation's.
Matrix rotation(std::uint64_t seed, Index n) {
  Matrix q = random_matrix(seed, n, n);
  Rows columns;
  for (Index j = 0; j < n; ++j) {
    columns.emplace_back();
    for (Index i = 0; i < n; ++i) columns.back().push_back(q.at(i, j));
  }
  const auto s = jacobi(columns);
  for (Index j = 0; j < n; ++j)
    for (Index i = 0; i < n; ++i)
      q.values[static_cast<std::size_t>(i * n + j)] =
          static_cast<double>(columns[static_cast<std::size_t>(j)][static_cast<std::size_t>(i)] / s[static_cast<std::size_t>(j)]);
  return q;
}

/// Two spaces that share some directions.
std::pair<Matrix, Matrix> related(Index rows, Index d1, Index d2) {
  const Matrix shared = random_matrix(71, rows, 4);
  return {plus(random_matrix(72, rows, d1), times(shared, random_matrix(73, 4, d1)), 1),
          plus(random_matrix(74, rows, d2), times(shared, random_matrix(75, 4, d2)), 0.7)};
}

SpaceOptions options_of(std::vector<std::string> measures, SvccaOptions svcca = {}) {
  SpaceOptions o;
  o.measures = std::move(measures);
  o.svcca = svcca;
  o.permutations = 0;
  return o;
}

double score(const std::string& measure, const Matrix& x, const Matrix& y, SvccaOptions svcca = {}, Route route = Route::automatic) {
  auto o = options_of({measure}, svcca);
  o.route = route;
  return compare_spaces(world(), x, y, {}, o).measures.at(measure).score;
}

const std::vector<Route> routes{Route::automatic, Route::gram, Route::qr, Route::whole};
constexpr SvccaOptions all_components{1.0, 1000};

// --- SVCCA ------------------------------------------------------------------------------------------------------------

TEST(Svcca, EqualsTheOracleByEveryRoute) {
  const auto [x, y] = related(60, 9, 12);
  for (const Route route : routes)
    for (const Index k : {1, 4, 9}) {
      const auto rho = canonical(x, k, y, k);
      EXPECT_NEAR(score("svcca", x, y, {0.99, k}, route), mean(rho), 1e-12) << static_cast<int>(route);
      auto squared = rho;
      for (auto& r : squared) r *= r;
      EXPECT_NEAR(score("svcca_squared", x, y, {0.99, k}, route), mean(squared), 1e-12);
    }
  EXPECT_NEAR(score("svcca_rank1", x, y), mean(canonical(x, 1, y, 1)), 1e-12);
}

TEST(Svcca, IsAccurateForIllConditionedData) {
  for (const double condition : {1e3, 1e6, 1e9}) {
    auto [x, y] = related(80, 12, 10);
    Matrix graded = rotation(5, 12);
    for (Index i = 0; i < 12; ++i)
      for (Index j = 0; j < 12; ++j)
        graded.values[static_cast<std::size_t>(i * 12 + j)] *= std::pow(condition, -static_cast<double>(i) / 11);
    x = times(x, graded);
    for (const Route route : {Route::automatic, Route::qr})
      EXPECT_NEAR(score("svcca", x, y, all_components, route), mean(canonical(x, 12, y, 10)), 1e-8) << condition;
  }
}

TEST(Svcca, GramIsTakenWhereItIsAccurateAlone) {
  auto o = options_of({"svcca"});
  const auto [x, y] = related(300, 20, 30);
  auto result = compare_spaces(world(), x, y, {}, o);
  EXPECT_EQ(result.route_x, "gram");
  o.route = Route::qr;
  EXPECT_NEAR(compare_spaces(world(), x, y, {}, o).measures.at("svcca").score, result.measures.at("svcca").score, 1e-12);
  o.route = Route::gram;
  Matrix steep = x;
  for (Index i = 0; i < x.rows; ++i)
    for (Index c = 0; c < x.cols; ++c)
      steep.values[static_cast<std::size_t>(i * x.cols + c)] *= std::pow(10.0, -0.5 * static_cast<double>(c));
  o.svcca = all_components;
  result = compare_spaces(world(), steep, y, {}, o);
  EXPECT_EQ(result.route_x, "qr"); // even where it is asked for
  EXPECT_EQ(result.route_y, "gram");
  Matrix deficient = x;
  for (Index i = 0; i < x.rows; ++i) deficient.values[static_cast<std::size_t>(i * x.cols)] = x.at(i, 1);
  EXPECT_EQ(compare_spaces(world(), deficient, y, {}, o).route_x, "qr"); // the rank is not seen in X^T X
}

TEST(Svcca, IsOneUnderRotationScaleAndShift) {
  const Matrix x = random_matrix(1, 120, 12);
  EXPECT_NEAR(score("svcca", x, x), 1, 1e-12);
  EXPECT_NEAR(score("svcca", x, affine(times(x, rotation(2, 12)), 3.5, 7)), 1, 1e-10);
}

TEST(Svcca, AllComponentsAreInvariantToInvertibleMapsAndFewAreNot) {
  const Matrix x = random_matrix(1, 100, 8);
  EXPECT_NEAR(score("svcca", x, times(x, random_matrix(9, 8, 8)), all_components), 1, 1e-9);
  EXPECT_NEAR(score("pwcca", x, times(x, random_matrix(9, 8, 8)), all_components), 1, 1e-9);
  Matrix w{8, 8, std::vector<double>(64, 0.0)};
  for (Index i = 0; i < 8; ++i) w.values[static_cast<std::size_t>(9 * i)] = i < 4 ? 1 : 100;
  EXPECT_LT(score("svcca", x, times(x, w), {0.99, 3}), 0.999);
}

TEST(Svcca, DoesNotDependOnTheScaleOfTheData) { // published code compares a share with an unnormalised total
  const Matrix x = random_matrix(1, 150, 10);
  const Matrix y = random_matrix(2, 150, 14);
  const auto plain = compare_spaces(world(), x, y, {}, options_of({"svcca"}));
  for (const double scale : {1e-3, 1e3}) {
    const auto scaled = compare_spaces(world(), affine(x, scale, 0), y, {}, options_of({"svcca"}));
    EXPECT_EQ(scaled.x.k, plain.x.k);
    EXPECT_NEAR(scaled.measures.at("svcca").score, plain.measures.at("svcca").score, 1e-12);
  }
}

TEST(AllMeasures, AreSymmetricAndBlindToTheOrderOfRowsAndColumns) {
  const auto [x, y] = related(90, 10, 14);
  const auto rows = shuffled(90, Philox(1, "order"));
  const auto cols = shuffled(10, Philox(2, "order"));
  auto o = options_of({"svcca", "svcca_squared", "svcca_rank1", "rsa", "rsa_pearson", "cka", "cka_debiased", "procrustes", "mutual_knn"});
  const auto plain = compare_spaces(world(), x, y, {}, o).measures;
  const auto swapped = compare_spaces(world(), y, x, {}, o).measures;
  const auto reordered = compare_spaces(world(), x.rows_of(rows), y.rows_of(rows), {}, o).measures;
  const auto recoloured = compare_spaces(world(), permuted_cols(x, cols), y, {}, o).measures;
  for (const auto& name : o.measures) {
    EXPECT_NEAR(swapped.at(name).score, plain.at(name).score, 1e-11) << name;
    EXPECT_NEAR(reordered.at(name).score, plain.at(name).score, 1e-11) << name;
    EXPECT_NEAR(recoloured.at(name).score, plain.at(name).score, 1e-8) << name; // sums in another order may move a key by one
  }
}

TEST(Svcca, DuplicatedZeroAndConstantColumnsChangeNothing) {
  const Matrix x = random_matrix(1, 90, 5);
  const Matrix y = random_matrix(2, 90, 6);
  Matrix wide{90, 8, {}};
  for (Index i = 0; i < 90; ++i) {
    for (Index c = 0; c < 5; ++c) wide.values.push_back(x.at(i, c));
    wide.values.insert(wide.values.end(), {x.at(i, 0), 0.0, 4.0});
  }
  const auto deficient = compare_spaces(world(), wide, y, {}, options_of({"svcca"}, all_components));
  EXPECT_EQ(deficient.x.rank, 5);
  EXPECT_EQ(deficient.x.k, 5);
  EXPECT_NEAR(deficient.measures.at("svcca").score, score("svcca", x, y, all_components), 1e-11);
}

TEST(Svcca, CutsAtAKnownSpectrum) {
  const std::vector<double> s{3, 2, 1, 0.5};
  EXPECT_EQ(cut(s, 4, {9.0 / 14.25 - 1e-9, 0}).k, 1);
  EXPECT_EQ(cut(s, 4, {9.0 / 14.25 + 1e-9, 0}).k, 2);
  EXPECT_EQ(cut(s, 4, {1.0, 0}).k, 4);
  EXPECT_EQ(cut(s, 3, {1.0, 0}).k, 3);
  EXPECT_EQ(cut(s, 4, {0.99, 2}).k, 2);
  EXPECT_NEAR(cut(s, 4, {0.95, 0}).variance_at_k, 14.0 / 14.25, 1e-15);
  EXPECT_NEAR(cut(s, 4, {0.95, 0}).variance_before_k, 13.0 / 14.25, 1e-15);
}

TEST(Svcca, SaysWhyItIsUndefined) {
  auto o = options_of({"svcca", "cka"});
  o.permutations = 9;
  const auto few = compare_spaces(world(), random_matrix(1, 10, 30), random_matrix(2, 10, 30), {}, o).measures;
  EXPECT_TRUE(std::isnan(few.at("svcca").score));
  EXPECT_TRUE(std::isnan(few.at("svcca").p));
  EXPECT_NE(few.at("svcca").reason.find("every score would be 1"), std::string::npos) << few.at("svcca").reason;
  EXPECT_FALSE(std::isnan(few.at("cka").score)); // which needs no more rows than columns
  const auto zero = compare_spaces(world(), Matrix{20, 3, std::vector<double>(60, 2.0)}, random_matrix(2, 20, 3), {}, o).measures;
  EXPECT_EQ(zero.at("svcca").reason, "a side has no variance");
  EXPECT_EQ(zero.at("cka").reason, "a side has no variance");
  for (const auto& [name, measure] : compare_spaces(world(), random_matrix(1, 3, 2), random_matrix(2, 3, 2), {}, o).measures)
    EXPECT_EQ(measure.reason, "3 matched rows are too few");
}

TEST(Svcca, ForcedOnesAreCountedAndAreOne) {
  const Matrix x = random_matrix(1, 21, 12);
  const Matrix y = random_matrix(2, 21, 14);
  EXPECT_EQ(compare_spaces(world(), x, y, {}, options_of({"svcca"}, all_components)).forced_ones, 12 + 14 - 20);
  const auto rho = canonical(x, 12, y, 14);
  EXPECT_NEAR(static_cast<double>(rho[5]), 1, 1e-12);
  EXPECT_LT(static_cast<double>(rho[6]), 1 - 1e-6);
}

TEST(Pwcca, WeighsCanonicalCorrelationsByWhatTheyAccountFor) {
  const auto [x, y] = related(50, 4, 6);
  const auto ux = basis(x, 4);
  const auto uy = basis(y, 6);
  // H = Ux u_i by Jacobi of C^T, whose columns are C's rows rotated: right vectors are not needed, since alpha is taken from H itself.
  Rows c;
  for (const auto& a : ux) {
    c.emplace_back();
    for (const auto& b : uy) c.back().push_back(dot(a, b));
  }
  const auto whole = c;
  const auto rho = jacobi(c); // columns are C^T u_i; u_i = C (C^T u_i) / rho_i^2
  const auto columns = centred_columns(x);
  Real weighted = 0;
  Real weights = 0;
  for (std::size_t i = 0; i < rho.size(); ++i) {
    std::vector<Real> h(50, 0);
    for (std::size_t a = 0; a < ux.size(); ++a) {
      const Real u = dot(whole[a], c[i]) / (rho[i] * rho[i]);
      for (std::size_t r = 0; r < h.size(); ++r) h[r] += u * ux[a][r];
    }
    Real alpha = 0;
    for (const auto& column : columns) alpha += std::abs(dot(h, column));
    weighted += alpha * rho[i];
    weights += alpha;
  }
  EXPECT_NEAR(score("pwcca", x, y, all_components), static_cast<double>(weighted / weights), 1e-11);
  EXPECT_NEAR(score("pwcca", y, x, all_components), static_cast<double>(weighted / weights),
              1e-11); // the view with fewer components decides
}

// --- CKA, Procrustes, principal angles --------------------------------------------------------------------------------

TEST(Cka, EqualsGramMatricesAndIsInvariantToRotationScaleAndShift) {
  const auto [x, y] = related(40, 6, 9);
  const auto columns_x = centred_columns(x);
  const auto columns_y = centred_columns(y);
  const auto squares = [](const Rows& a, const Rows& b) {
    Real sum = 0;
    for (const auto& p : a)
      for (const auto& q : b) sum += dot(p, q) * dot(p, q);
    return sum;
  };
  const auto expected =
      static_cast<double>(squares(columns_x, columns_y) / std::sqrt(squares(columns_x, columns_x) * squares(columns_y, columns_y)));
  EXPECT_NEAR(score("cka", x, y), expected, 1e-13);
  EXPECT_NEAR(score("cka", affine(times(x, rotation(3, 6)), 0.1, 5), y), expected, 1e-12);
  const double debiased = hsic_unbiased(x, y) / std::sqrt(hsic_unbiased(x, x) * hsic_unbiased(y, y));
  EXPECT_NEAR(score("cka_debiased", x, y), debiased, 1e-12);
  EXPECT_NEAR(score("cka_debiased", affine(times(x, rotation(3, 6)), 0.1, 5), y), debiased, 1e-11);
}

TEST(Cka, DebiasedIsAboutZeroForIndependentRows) {
  double sum = 0;
  int negative = 0;
  for (std::uint64_t t = 0; t < 40; ++t) {
    const double s = score("cka_debiased", random_matrix(100 + t, 60, 30), random_matrix(900 + t, 60, 20));
    sum += s;
    negative += s < 0 ? 1 : 0;
  }
  EXPECT_NEAR(sum / 40, 0, 0.02);
  EXPECT_GT(negative, 8);
  EXPECT_GT(score("cka", random_matrix(100, 60, 30), random_matrix(900, 60, 20)), 0.2); // what the bias does
}

TEST(Procrustes, IsOneUnderRotationAndItsAngleIsAMetric) {
  const Matrix x = random_matrix(1, 50, 7);
  EXPECT_NEAR(score("procrustes", x, affine(times(x, rotation(2, 7)), 4, 1)), 1, 1e-12);
  const Matrix y = random_matrix(2, 50, 7);
  const Matrix z = random_matrix(3, 50, 7);
  const auto angle = [](const Matrix& a, const Matrix& b) { return procrustes_angle(score("procrustes", a, b)); };
  EXPECT_LE(angle(x, z), angle(x, y) + angle(y, z));
  EXPECT_LE(angle(x, y), std::acos(0.0));
  EXPECT_EQ(procrustes_angle(1 + 1e-15), 0);
  EXPECT_EQ(procrustes_distance(1 + 1e-15), 0);
  EXPECT_NEAR(procrustes_distance(0.5), 1, 1e-15);
}

TEST(PrincipalAngles, CompareSpansInOneResidualStream) {
  const Matrix x = random_matrix(1, 60, 5);
  const Matrix directions = random_matrix(2, 5, 12);
  const Matrix in = times(x, directions);
  EXPECT_NEAR(score("principal_angles", in, times(random_matrix(3, 60, 5), directions), {0.99, 5}), 1, 1e-9); // one span, other rows
  const auto far = compare_spaces(world(), in, random_matrix(4, 60, 12), {}, options_of({"principal_angles"}, {0.99, 5}))
                       .measures.at("principal_angles");
  EXPECT_NEAR(far.formula_mean, 5.0 / 12, 1e-12);
  EXPECT_LT(std::abs(far.z), 4);
  EXPECT_NE(
      compare_spaces(world(), x, in, {}, options_of({"principal_angles"})).measures.at("principal_angles").reason.find("width 5 and 12"),
      std::string::npos);
}

// --- chance -----------------------------------------------------------------------------------------------------------

const std::vector<std::string> permuted_measures{"svcca",     "svcca_squared", "svcca_rank1", "pwcca",        "rsa",        "rsa_pearson",
                                                 "rsa_rho_a", "rsa_kendall",   "cka",         "cka_debiased", "procrustes", "mutual_knn"};

TEST(Null, EqualsRecomputationByEveryRouteAndAlsoWithinStrata) {
  const auto [x, y] = related(80, 6, 9);
  SpaceFacts facts;
  for (Index i = 0; i < 80; ++i) facts.strata.push_back(i % 3);
  for (const Route route : routes)
    for (const Index permutations : {3, 20}) { // with and without forming the bases
      auto o = options_of(permuted_measures, {0.9, 0});
      o.route = route;
      o.permutations = permutations;
      o.stratified = 2;
      o.kendall_samples = 500;
      const auto result = compare_spaces(world(), x, y, facts, o).measures;
      auto plain = o;
      plain.permutations = plain.stratified = 0;
      const auto again = compare_spaces(world(), x, y.rows_of(shuffled_pairing(80, 0, 2)), {}, plain).measures;
      const auto within = compare_spaces(world(), x, y.rows_of(stratified_pairing(facts.strata, 0, 1)), {}, plain).measures;
      for (const auto& name : permuted_measures) {
        EXPECT_NEAR(result.at(name).shuffled.values.at(2), again.at(name).score, 2e-12) << name << " " << static_cast<int>(route);
        EXPECT_NEAR(result.at(name).stratified.values.at(1), within.at(name).score, 2e-12) << name;
        EXPECT_GT(result.at(name).p, 0) << name;
      }
    }
}

TEST(Null, IsTheSameAtAnyNumberOfRanks) {
  const auto alone = world().split(world().rank());
  const auto [x, y] = related(60, 5, 6);
  auto o = options_of(permuted_measures);
  o.permutations = 30;
  const auto here = compare_spaces(world(), x, y, {}, o).measures;
  const auto there = compare_spaces(alone, x, y, {}, o).measures;
  for (const auto& name : permuted_measures)
    for (std::size_t b = 0; b < 30; ++b) EXPECT_NEAR(here.at(name).shuffled.values[b], there.at(name).shuffled.values[b], 1e-12) << name;
  for (const char* name : {"rsa", "rsa_pearson", "rsa_rho_a", "rsa_kendall", "mutual_knn"}) { // sums of whole numbers
    EXPECT_EQ(here.at(name).score, there.at(name).score);
    EXPECT_EQ(here.at(name).shuffled.values, there.at(name).shuffled.values) << name;
  }
}

TEST(Null, MeansAndSpreadsFollowTheFormulas) {
  const Matrix x = random_matrix(1, 200, 15);
  Matrix y = random_matrix(2, 200, 20);
  for (double& v : y.values) v = v * v * v; // heavy tails
  auto o = options_of({"svcca", "svcca_squared", "svcca_rank1", "cka", "cka_debiased", "rsa", "rsa_pearson", "mutual_knn"}, all_components);
  o.permutations = 600;
  for (const auto& [name, m] : compare_spaces(world(), x, y, {}, o).measures) {
    const double error = m.shuffled.sd / std::sqrt(600.0);
    const double slack = name == "svcca" ? 2e-3 : 0; // Wachter's law is a limit
    EXPECT_NEAR(m.shuffled.mean, m.formula_mean, 4.5 * error + slack) << name;
    if (!std::isnan(m.formula_sd)) {
      EXPECT_NEAR(m.shuffled.sd / m.formula_sd, 1, 0.15) << name;
    }
  }
}

TEST(Null, MeanFollowsWachterAtOneThousandRows) {
  auto o = options_of({"svcca"}, all_components);
  o.permutations = 6;
  const auto m = compare_spaces(world(), random_matrix(1, 1000, 100), random_matrix(2, 1000, 150), {}, o).measures.at("svcca");
  EXPECT_NEAR(m.shuffled.mean, m.formula_mean, 2e-3);
  EXPECT_NEAR(m.score, m.formula_mean, 5e-3); // independent data: the score is at chance itself
}

TEST(Null, IsUniformUnderTheNull) {
  int small = 0;
  const int trials = 60;
  auto o = options_of({"rsa"});
  o.permutations = 19;
  for (std::uint64_t t = 0; t < trials; ++t)
    small +=
        compare_spaces(world(), random_matrix(100 + t, 15, 4), random_matrix(900 + t, 15, 4), {}, o).measures.at("rsa").p <= 0.25 ? 1 : 0;
  EXPECT_NEAR(small, trials / 4, 12); // 3.5 standard deviations
}

TEST(Subsets, AreComparedAsTheSpacesAre) {
  const auto [x, y] = related(60, 5, 6);
  const Matrix& all_x = x;
  const Matrix& all_y = y;
  SpaceFacts facts;
  facts.subset = [&](Index s) {
    auto order = shuffled(60, Philox(7, "draw", static_cast<std::uint64_t>(s)));
    order.resize(30);
    return std::pair{all_x.rows_of(order), all_y.rows_of(order)};
  };
  auto o = options_of({"svcca", "rsa", "cka"}, {0.99, 3});
  o.subsets = 5;
  const auto result = compare_spaces(world(), x, y, facts, o).measures;
  for (const auto& name : o.measures) {
    ASSERT_EQ(result.at(name).subsets.values.size(), 5U);
    const auto [draw_x, draw_y] = facts.subset(3);
    EXPECT_NEAR(result.at(name).subsets.values[3], score(name, draw_x, draw_y, {0.99, 3}), 1e-12);
    EXPECT_GT(result.at(name).subsets.p, 0);
  }
}

TEST(StratifiedPairing, MovesItemsWithinStrataAlone) {
  std::vector<Index> strata;
  for (Index i = 0; i < 100; ++i) strata.push_back(i * i % 7);
  const auto order = stratified_pairing(strata, 3, 5);
  std::vector<Index> sorted = order;
  std::sort(sorted.begin(), sorted.end());
  Index moved = 0;
  for (Index i = 0; i < 100; ++i) {
    EXPECT_EQ(sorted[static_cast<std::size_t>(i)], i);
    EXPECT_EQ(strata[static_cast<std::size_t>(i)], strata[static_cast<std::size_t>(order[static_cast<std::size_t>(i)])]);
    moved += order[static_cast<std::size_t>(i)] != i ? 1 : 0;
  }
  EXPECT_GT(moved, 60);
  EXPECT_NE(order, stratified_pairing(strata, 3, 6));
  EXPECT_EQ(strata_of({10, 11, 1000, 10}, {1, 1.001, 1, 2}), (std::vector<Index>{0, 0, 1, 2}));
}

/// A request that comes in the middle of a pair ends it on all ranks, also where one of them alone was asked; the pair done again has the
/// bits of an undisturbed one.
TEST(CompareSpaces, StopsWithinAPairOnRequest) {
  const auto [x, y] = related(60, 5, 6);
  auto o = options_of(permuted_measures);
  o.permutations = 9;
  o.subsets = 4;
  const Matrix& all_x = x;
  const Matrix& all_y = y;
  SpaceFacts facts;
  for (const Index asked_at : {-1, 0, 3}) { // before it begins, or while subset 0 or 3 is drawn by the rank that draws it
    comm::install_stop_flag(0);
    facts.subset = [&](Index s) {
      if (s == asked_at) std::raise(SIGUSR1);
      return std::pair{all_x, all_y};
    };
    if (asked_at < 0 && world().rank() == world().size() - 1) std::raise(SIGUSR1);
    expect_error(ExitCode::stopped, "run the same command to go on", [&] { compare_spaces(world(), x, y, facts, o); });
  }
  comm::install_stop_flag(0);
  facts.subset = nullptr;
  const auto again = compare_spaces(world(), x, y, facts, o).measures;
  const auto plain = compare_spaces(world(), x, y, {}, o).measures;
  for (const auto& name : o.measures) EXPECT_EQ(again.at(name).score, plain.at(name).score);
}

// --- refusals ---------------------------------------------------------------------------------------------------------

TEST(CompareSpaces, RefusesBadInputOnAllRanks) {
  const Matrix x = random_matrix(1, 20, 3);
  expect_error(ExitCode::bad_data, "matched rows are needed: 20 against 19", [&] { score("cka", x, random_matrix(2, 19, 3)); });
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    Matrix y = x;
    y.values[31] = bad;
    expect_error(ExitCode::bad_data, "row 10 of Y holds a value that is not finite", [&] { score("svcca", x, y); });
  }
  Matrix huge = affine(x, 1e200, 0);
  expect_error(ExitCode::bad_data, "too large to square", [&] { score("svcca", huge, x); });
  expect_error(ExitCode::config, "did you mean \"svcca\"?", [&] { score("svca", x, x); });
}

TEST(GroupsFor, WastesFewRanks) {
  EXPECT_EQ(groups_for(60, 2), 2);
  EXPECT_EQ(groups_for(60, 1), 1);
  EXPECT_EQ(groups_for(1, 4), 1);
  EXPECT_EQ(groups_for(4, 4), 4);
  EXPECT_EQ(groups_for(0, 4), 1);
  EXPECT_EQ(groups_for(1092, 64), 32);     // 35 rounds by two ranks each; 64 groups would leave all but 4 ranks idle in the 18th
  EXPECT_EQ(groups_for(1092, 1024), 102);  // 11 rounds by ten ranks each
  EXPECT_EQ(groups_for(1092, 8192), 1092); // one round
}

TEST(Matrix, SinglesAndDoublesAreTheSameRows) {
  const auto [x, y] = related(40, 5, 6);
  Matrix single_x{40, 5, {}, std::vector<float>(x.values.begin(), x.values.end())};
  Matrix double_x{40, 5, {single_x.singles.begin(), single_x.singles.end()}};
  for (const auto& name : permuted_measures) EXPECT_EQ(score(name, single_x, y, {0.9, 0}), score(name, double_x, y, {0.9, 0})) << name;
  EXPECT_EQ(single_x.rows_of({3, 1}).at(0, 2), double_x.at(3, 2));
}

} // namespace
} // namespace concord::similarity
