// The claim: tables of similarity, words that occur together, and the agreement of two models' effects in planted worlds.
#include "concord/agreement/two_by_two.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/core/text.hpp"

#include "subspaces/claim/claim_tests.hpp"
#include "subspaces/geometry/coactivation.hpp"
#include "subspaces/worlds.hpp"
#include <algorithm>
#include <cstring>
#include <set>

namespace concord::subspaces {
namespace {

using test::expect_error;
using test::world;
using namespace worlds;

concepts::ConceptLists some_lists() {
  concepts::ConceptLists lists;
  for (const char* name : {"Birds", "Fish", "Tools", "Food"}) lists.concepts.push_back({name, name[0] == 'T' ? "things" : "living"});
  for (Index phrase = 0; phrase < 12; ++phrase) lists.phrases.push_back({fmt::format("p{}", phrase), phrase % 4, 1});
  return lists;
}

// --- Similarity -------------------------------------------------------------------------------------------------------

std::map<std::string, std::vector<double>> read(const std::string& text, const std::vector<std::string>& measures) {
  static const auto folder = test::empty_folder("similarity_of_concepts"); // ranks read by themselves
  const auto path = folder / fmt::format("t{}.tsv", world().rank());
  write_text_atomic(path, text);
  return read_similarity(path, measures, some_lists());
}

TEST(SimilarityOfConcepts, IsReadBothWaysRound) {
  for (const char* end : {"\n", "\r\n"}) {
    std::string text;
    for (const char* line : {"concept\tother\tlin\tpath", "Birds\tFish\t0.5\t0.25", "", "Food\tTools\t-1e-3\t7",
                             "Cars\tFish\tnot\tlooked at", "Fish\tFish\t1\t1"})
      text += std::string(line) + end;
    const auto found = read(text, {"path", "lin"});
    ASSERT_EQ(found.size(), 2U);
    std::vector<double> lin(16, std::nan(""));
    auto path = lin;
    lin[1] = lin[4] = 0.5;
    path[1] = path[4] = 0.25;
    lin[at(3 * 4 + 2)] = lin[at(2 * 4 + 3)] = -1e-3;
    path[at(3 * 4 + 2)] = path[at(2 * 4 + 3)] = 7;
    lin[5] = path[5] = 1;
    for (std::size_t i = 0; i < 16; ++i) {
      EXPECT_EQ(std::isnan(found.at("lin")[i]), std::isnan(lin[i])) << i;
      EXPECT_FALSE(found.at("lin")[i] != lin[i] && !std::isnan(lin[i])) << i;
      EXPECT_FALSE(found.at("path")[i] != path[i] && !std::isnan(path[i])) << i;
    }
    EXPECT_EQ(read(text, {"path"}).size(), 1U);
  }
  EXPECT_TRUE(std::isnan(read("concept\tother\tlin", {"lin"}).at("lin")[1])); // no lines at all
  EXPECT_EQ(read("concept\tother\tlin\nBirds\tFish\t0.5", {"lin"}).at("lin")[1], 0.5) << "no line end";
}

TEST(SimilarityOfConcepts, ThatDoesNotFitIsRefused) {
  const std::string head = "concept\tother\tlin\tpath\n";
  const auto lin = std::vector<std::string>{"lin"};
  for (const char* bad : {"", "concept\tother\n", "other\tconcept\tlin\n", "concept,other,lin\n", "a\tb\tlin\n"})
    expect_error(ExitCode::bad_data, "line 1: the columns must be", [&] { read(bad, lin); });
  expect_error(ExitCode::config, "no column wup (subspaces.meaning); it has lin, path", [&] { read(head, {"lin", "wup"}); });
  expect_error(ExitCode::bad_data, "line 3: 3 columns, where line 1 has 4",
               [&] { read(head + "Birds\tFish\t1\t1\nBirds\tFood\t1\n", lin); });
  expect_error(ExitCode::bad_data, "line 2: 5 columns", [&] { read(head + "Birds\tFood\t1\t1\t\r\n", lin); });
  for (const char* bad : {"", "x", "1x", " 1", "nan", "inf", "1e999", "0,5"})
    expect_error(ExitCode::bad_data, fmt::format("line 2: \"{}\" is no finite number", bad),
                 [&] { read(head + "Birds\tFood\t" + bad + "\t1\n", lin); });
  EXPECT_EQ(read(head + "Birds\tFood\t0.5\tx\n", lin).at("lin")[3], 0.5) << "what is not asked for is not read";
  expect_error(ExitCode::input_missing, "nowhere.tsv", [&] { read_similarity("nowhere.tsv", lin, some_lists()); });
}

TEST(Groups, AreNumbered) {
  auto lists = some_lists();
  EXPECT_EQ(groups_of(lists), (std::vector<Index>{0, 0, 1, 0}));
  for (auto& of : lists.concepts) of.group = "one";
  EXPECT_TRUE(groups_of(lists).empty());
}

// --- Words together ---------------------------------------------------------------------------------------------------

TEST(WordsTogether, EqualAPlainCount) {
  const auto lists = some_lists();
  const Philox random(5, "words");
  std::vector<Index> offsets{0};
  std::vector<concepts::Occurrence> all;
  for (std::uint64_t c = 0; c < 40; ++c) {
    const Index begin = offsets.back();
    offsets.push_back(begin + 5 + static_cast<Index>(random.below(c, 60)));
    for (Index row = begin; row < offsets.back(); ++row) {
      const auto draw = 1000 + static_cast<std::uint64_t>(row);
      if (random.uniform(2 * draw) > 0.08) continue;
      concepts::Occurrence one;
      one.first_row = row;
      one.end_row = row + 1;
      one.phrase = static_cast<std::int32_t>(random.below(2 * draw + 1, 11)); // phrases of concept 3 are rarer
      all.push_back(one);
    }
  }
  const dist::Partition share{40, world().size()};
  std::vector<concepts::Occurrence> mine;
  for (const auto& one : all)
    if (one.first_row >= offsets[at(share.begin(world().rank()))] && one.first_row < offsets[at(share.end(world().rank()))])
      mine.push_back(one);
  for (const Index window : {1, 7, 16, 1000}) {
    const auto together = words_together(world(), mine, lists, offsets, window);
    const auto& odds = together.log_odds;
    std::vector<std::set<Index>> windows;
    for (std::size_t c = 0; c + 1 < offsets.size(); ++c)
      for (Index begin = offsets[c]; begin < offsets[c + 1]; begin += window) {
        windows.emplace_back();
        for (const auto& one : all)
          if (one.first_row >= begin && one.first_row < std::min(begin + window, offsets[c + 1]))
            windows.back().insert(lists.phrases[at(one.phrase)].of_concept);
      }
    ASSERT_EQ(odds.size(), 16U);
    for (Index a = 0; a < 4; ++a)
      for (Index b = 0; b < 4; ++b) {
        double n[2][2] = {{0, 0}, {0, 0}};
        for (const auto& present : windows) ++n[present.contains(a) ? 1 : 0][present.contains(b) ? 1 : 0];
        const double expected = std::log((n[1][1] + 0.5) * (n[0][0] + 0.5) / ((n[1][0] + 0.5) * (n[0][1] + 0.5)));
        EXPECT_NEAR(odds[at(4 * a + b)], expected, 1e-12) << window << " " << a << " " << b;
        const double count = n[1][1] + n[1][0] + n[0][1] + n[0][0];
        const double one = n[1][1] + n[1][0];
        const double other = n[1][1] + n[0][1];
        const double phi = (n[1][1] * n[0][0] - n[1][0] * n[0][1]) / std::sqrt(one * (count - one) * other * (count - other));
        const double npmi = std::log(count * n[1][1] / (one * other)) / -std::log(n[1][1] / count);
        EXPECT_EQ(std::isnan(together.phi[at(4 * a + b)]), one == count || other == count || one == 0 || other == 0);
        EXPECT_EQ(std::isnan(together.npmi[at(4 * a + b)]), n[1][1] == 0 || n[1][1] == count);
        if (!std::isnan(phi)) {
          EXPECT_NEAR(together.phi[at(4 * a + b)], phi, 1e-12);
        }
        if (n[1][1] > 0 && n[1][1] < count) {
          EXPECT_NEAR(together.npmi[at(4 * a + b)], npmi, 1e-12);
        }
      }
  }
}

// --- The claim --------------------------------------------------------------------------------------------------------

constexpr Index concept_count = 16;
const RemovedBases removed_bases{{BasisKind::sae, BasisKind::dealt}, concept_count};

/// Effects of a model: row, column, what is shared by both models (strength `shared`, for kind sae alone), its own, and noise of a half.
EffectMatrices effects_of(std::uint64_t seed, std::uint64_t model, double shared) {
  EffectMatrices effects(concept_count);
  const Philox common(seed, "shared");
  for (std::size_t i = 0; i < effects.kl.size(); ++i) {
    const auto column = static_cast<Index>(i) % concept_count;
    const auto row = static_cast<Index>(i) / concept_count % concept_count;
    const auto half = static_cast<Index>(i) / (concept_count * concept_count) % 2;
    const auto kind = static_cast<Index>(i) / (concept_count * concept_count * 2) % basis_kinds;
    const auto set = static_cast<Index>(i) / (concept_count * concept_count * 2 * basis_kinds);
    if (kind != 0 && kind != 4) continue;
    const auto entry = static_cast<std::uint64_t>(row * concept_count + column + 1000 * kind + 10000 * set);
    const Philox own(seed, "own", model);
    const Philox noise(seed, "noise", model, static_cast<std::uint64_t>(half));
    const double log_kl = common.normal(1'000'000 + static_cast<std::uint64_t>(row)) +
                          common.normal(2'000'000 + static_cast<std::uint64_t>(column)) + (kind == 0 ? shared : 0) * common.normal(entry) +
                          0.5 * own.normal(entry) + 0.3 * noise.normal(entry);
    effects.kl[i] = std::exp(log_kl);
    effects.loss[i] = log_kl - own.normal(entry + 5'000'000);
  }
  return effects;
}

struct Claim {
  std::vector<std::string> names;
  std::vector<std::vector<double>> values;
  std::size_t pairs = 1;
  double at(const std::string& name, int set, BasisKind kind, std::size_t pair = 0) const {
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) throw std::runtime_error(name);
    return values[static_cast<std::size_t>(found - names.begin())]
                 [static_cast<std::size_t>(set * basis_kinds + static_cast<int>(kind)) * pairs + pair];
  }
};

/// Rank 0 alone has effects.
Claim claim_of(const comm::Communicator& comm, std::vector<EffectMatrices> a, std::vector<EffectMatrices> b,
               const std::vector<double>& meaning, Index permutations, std::uint64_t seed) {
  const Philox random(seed, "together");
  std::vector<double> together;
  for (Index i = 0; i < concept_count; ++i)
    for (Index j = 0; j < concept_count; ++j)
      together.push_back(random.normal(static_cast<std::uint64_t>(std::min(i, j) * concept_count + std::max(i, j))));
  std::map<std::string, std::vector<double>> similarity;
  if (!meaning.empty()) similarity["lin"] = meaning;
  std::vector<Index> groups;
  for (Index i = 0; i < concept_count; ++i) groups.push_back(i / 4);
  if (comm.rank() != 0)
    for (auto* side : {&a, &b})
      for (auto& effects : *side) effects = EffectMatrices(concept_count);
  Claim claim;
  claim.pairs = a.size() * b.size();
  claim.names = claim_datasets(similarity);
  claim.values = claim_values(comm, std::move(a), std::move(b), {removed_bases, groups, together, similarity, permutations, seed});
  return claim;
}

/// Symmetric similarity near what both models share, seen through noise.
std::vector<double> meaning_of(std::uint64_t seed, double noise) {
  const Philox common(seed, "shared");
  const Philox own(seed, "meaning");
  std::vector<double> meaning(at(concept_count * concept_count));
  for (Index i = 0; i < concept_count; ++i)
    for (Index j = 0; j < concept_count; ++j) {
      const auto a = static_cast<std::uint64_t>(std::min(i, j) * concept_count + std::max(i, j));
      const auto b = static_cast<std::uint64_t>(std::max(i, j) * concept_count + std::min(i, j));
      meaning[at(i * concept_count + j)] = common.normal(a) + common.normal(b) + noise * own.normal(a);
    }
  return meaning;
}

TEST(Claim, FindsSharedEffectsAndNoOthers) {
  const auto claim = claim_of(world(), {effects_of(3, 1, 1)}, {effects_of(3, 2, 1)}, meaning_of(3, 0.5), 199, 9);
  ASSERT_EQ(claim.values.size(), claim.names.size());
  for (const auto& values : claim.values) EXPECT_EQ(values.size(), at(span_sets * basis_kinds));
  for (int set = 0; set < span_sets; ++set) {
    EXPECT_GT(claim.at("/claim/kl/r", set, BasisKind::sae), 0.5);
    EXPECT_LE(claim.at("/claim/kl/p", set, BasisKind::sae), 0.01);
    EXPECT_LE(claim.at("/claim/kl/p_grouped", set, BasisKind::sae), 0.02);
    EXPECT_LE(claim.at("/claim/loss/p", set, BasisKind::sae), 0.05);
    EXPECT_LT(std::abs(claim.at("/claim/kl/r", set, BasisKind::dealt)), 0.3);
    EXPECT_GT(claim.at("/claim/kl/reliability_a", set, BasisKind::sae), 0.7);
    EXPECT_EQ(claim.at("/claim/kl/concepts", set, BasisKind::sae), concept_count);
    EXPECT_NEAR(claim.at("/claim/kl/ratio", set, BasisKind::sae),
                claim.at("/claim/kl/r", set, BasisKind::sae) / claim.at("/claim/kl/ceiling", set, BasisKind::sae), 1e-12);
    for (const BasisKind kind : {BasisKind::residual, BasisKind::random, BasisKind::matched})
      EXPECT_TRUE(std::isnan(claim.at("/claim/kl/p", set, kind))) << "not removed";
    EXPECT_EQ(std::isnan(claim.at("/claim/kl/lin/effect_a_p", set, BasisKind::sae)), set > 0) << "meaning: all spans alone";
  }
  EXPECT_LE(claim.at("/claim/kl/lin/effect_a_p", 0, BasisKind::sae), 0.02);
  EXPECT_LE(claim.at("/claim/kl/lin/effect_b_p", 0, BasisKind::sae), 0.02);
  EXPECT_LE(claim.at("/claim/kl/lin/beside_p", 0, BasisKind::sae), 0.02) << "much is shared beside meaning";
  EXPECT_GT(claim.at("/claim/kl/lin/effect_a_r", 0, BasisKind::sae), 0.3);
}

/// The same numbers as the tests of module agreement give for the matrices.
TEST(Claim, NumbersAreThoseOfAgreement) {
  const auto a = effects_of(4, 1, 0.4);
  const auto b = effects_of(4, 2, 0.4);
  const auto claim = claim_of(world(), {a}, {b}, {}, 99, 9);
  agreement::MatrixPair pair;
  pair.concepts = concept_count;
  const Philox random(9, "together");
  pair.covariates.emplace_back();
  for (Index i = 0; i < concept_count; ++i) {
    pair.groups.push_back(i / 4);
    for (Index j = 0; j < concept_count; ++j)
      pair.covariates[0].push_back(random.normal(static_cast<std::uint64_t>(std::min(i, j) * concept_count + std::max(i, j))));
  }
  for (int set = 0; set < span_sets; ++set)
    for (const char* measure : {"kl", "loss"}) {
      const auto& of_a = measure[0] == 'k' ? a.kl : a.loss;
      const auto& of_b = measure[0] == 'k' ? b.kl : b.loss;
      const int kind = static_cast<int>(BasisKind::dealt);
      pair.a = {a.matrix(of_a, set, kind, 0), a.matrix(of_a, set, kind, 1)};
      pair.b = {b.matrix(of_b, set, kind, 0), b.matrix(of_b, set, kind, 1)};
      const auto expected = agreement::matrix_agreement(pair, {99, 9});
      const auto reliable = agreement::reliability(pair);
      const auto number = [&](const char* name) { return claim.at(fmt::format("/claim/{}/{}", measure, name), set, BasisKind::dealt); };
      EXPECT_EQ(number("r"), expected.r);
      EXPECT_EQ(number("t"), expected.t);
      EXPECT_EQ(number("robust_t"), expected.robust_t);
      EXPECT_EQ(number("spearman"), expected.spearman);
      EXPECT_EQ(number("p"), expected.free.p_robust);
      EXPECT_EQ(number("p_grouped"), expected.grouped.p_robust);
      EXPECT_EQ(number("p_spearman"), expected.free.p_spearman);
      EXPECT_EQ(number("reliability_a"), reliable.a);
      EXPECT_EQ(number("reliability_b"), reliable.b);
    }
}

TEST(Claim, IsTheSameOnAnyNumberOfRanks) {
  const std::vector<EffectMatrices> a{effects_of(5, 1, 0.5), effects_of(6, 1, 0.5)};
  const std::vector<EffectMatrices> b{effects_of(5, 2, 0.5), effects_of(7, 2, 0.5), effects_of(6, 2, 0.5)};
  const auto all = claim_of(alone(), a, b, meaning_of(5, 1), 49, 2);
  const auto found = claim_of(world(), a, b, meaning_of(5, 1), 49, 2);
  ASSERT_EQ(found.values.size(), all.values.size());
  Index defined = 0;
  for (std::size_t i = 0; i < all.values.size(); ++i) {
    ASSERT_EQ(found.values[i].size(), at(span_sets * basis_kinds * 6));
    for (std::size_t j = 0; j < all.values[i].size(); ++j) {
      EXPECT_EQ(std::isnan(found.values[i][j]), std::isnan(all.values[i][j]));
      EXPECT_FALSE(found.values[i][j] != all.values[i][j] && !std::isnan(all.values[i][j])) << all.names[i] << " " << j;
      defined += std::isnan(all.values[i][j]) ? 0 : 1;
    }
  }
  EXPECT_GT(defined, 1000);
  const double own = all.at("/claim/kl/r", 0, BasisKind::sae, 0); // a[0] with b[0] share, with b[1] they do not
  EXPECT_GT(own, all.at("/claim/kl/r", 0, BasisKind::sae, 1) + 0.2);
  EXPECT_GT(all.at("/claim/kl/r", 0, BasisKind::sae, 5), 0.2); // a[1] with b[2]
  for (std::size_t pair = 0; pair < 6; ++pair)
    EXPECT_GE(all.at("/claim/kl/p_max", 0, BasisKind::sae, pair), all.at("/claim/kl/p", 0, BasisKind::sae, pair));
}

/// Rows and columns are shared, nothing else: p keeps its level.
TEST(Claim, KeepsTheLevelOfIndependentEffects) {
  constexpr Index seeds = 60;
  double low = 0;
  double grouped = 0;
  double looked_at = 0;
  for (std::uint64_t seed = 0; seed < seeds; ++seed) {
    const auto claim = claim_of(world(), {effects_of(100 + seed, 1, 0)}, {effects_of(100 + seed, 2, 0)}, {}, 99, seed);
    for (const BasisKind kind : {BasisKind::sae, BasisKind::dealt}) {
      low += claim.at("/claim/kl/p", 0, kind) <= 0.1 ? 1 : 0;
      grouped += claim.at("/claim/kl/p_grouped", 0, kind) <= 0.1 ? 1 : 0;
      ++looked_at;
    }
  }
  for (const double count : {low, grouped}) {
    EXPECT_LE(count, most_by_chance(0.1, looked_at));
    EXPECT_GE(count, 1);
  }
}

// --- Likeness put together --------------------------------------------------------------------------------------------

TEST(GatheredLikeness, IsTheWhole) {
  constexpr Index count = 5;
  const dist::Partition shares{count, world().size()};
  const auto filled = [&](Index first, Index last) {
    Alike alike;
    SmallScores none;
    none.fill(-1);
    alike.pairs.assign(count * count, -1);
    alike.matrix.assign(count * count, none);
    alike.features.assign(count, {-1, none, none, none});
    alike.phrases = alike.features;
    for (Index c = first; c < last; ++c) {
      for (Index other = 0; other < count; ++other) {
        alike.pairs[at(c * count + other)] = 10 * c + other;
        alike.matrix[at(c * count + other)].fill(static_cast<double>(c) + 0.1 * static_cast<double>(other));
      }
      alike.features[at(c)].pairs = c;
      alike.phrases[at(c)].p.fill(static_cast<double>(c));
    }
    return alike;
  };
  const auto whole = filled(0, count);
  const auto found = gathered(world(), filled(shares.begin(world().rank()), shares.end(world().rank())), shares);
  EXPECT_EQ(found.pairs, whole.pairs);
  EXPECT_EQ(found.matrix, whole.matrix);
  for (std::size_t c = 0; c < count; ++c) {
    EXPECT_EQ(found.features[c].pairs, whole.features[c].pairs);
    EXPECT_EQ(found.phrases[c].p, whole.phrases[c].p);
  }
}

/// A matrix with a larger diagonal in one measure alone.
TEST(GatheredLikeness, ContrastsAreOfEachMeasure) {
  constexpr Index count = 12;
  const Philox random(3, "contrast");
  Alike alike;
  alike.features.resize(at(count));
  for (Index i = 0; i < count; ++i)
    for (Index j = 0; j < count; ++j) {
      SmallScores scores;
      for (std::size_t m = 0; m < scores.size(); ++m) scores[m] = random.uniform(static_cast<std::uint64_t>(4 * (i * count + j)) + m);
      scores[1] += i == j ? 1 : 0;
      alike.matrix.push_back(scores);
    }
  const auto contrasts = contrasts_of(alike, {}, 199, 5);
  ASSERT_EQ(contrasts.size(), at(small_measures));
  for (std::size_t m = 0; m < contrasts.size(); ++m) {
    double own = 0;
    double rest = 0;
    for (Index i = 0; i < count; ++i)
      for (Index j = 0; j < count; ++j)
        (i == j ? own : rest) += alike.matrix[at(i * count + j)][m] / static_cast<double>(i == j ? count : count * (count - 1));
    if (m >= 2) { // their chance level differs between cells
      EXPECT_TRUE(std::isnan(contrasts[m].contrast) && std::isnan(contrasts[m].p_free));
      continue;
    }
    EXPECT_NEAR(contrasts[m].contrast, own - rest, 1e-12);
    EXPECT_EQ(contrasts[m].p_free <= 0.01, m == 1) << m << " " << contrasts[m].p_free;
  }
}

} // namespace
} // namespace concord::subspaces
