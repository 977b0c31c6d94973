// Logit attribution and co-activation of members against plain loops, and their agreement between two models.
#include "concord/core/philox.hpp"
#include "concord/model/config.hpp"
#include "concord/model/transformer.hpp"

#include "concepts/token_file.hpp"
#include "subspaces/claim/claim_tests.hpp"
#include "subspaces/features_file.hpp"
#include "subspaces/geometry/coactivation.hpp"
#include "subspaces/geometry/geometry.hpp"
#include "subspaces/geometry/logit_attribution.hpp"
#include "subspaces/worlds.hpp"
#include <ATen/ATen.h>
#include <cmath>
#include <map>
#include <optional>
#include <set>

namespace concord::subspaces {
namespace {

using test::world;

std::size_t place(Index i) {
  return static_cast<std::size_t>(i);
}

// --- Logits -----------------------------------------------------------------------------------------------------------

std::filesystem::path small_model() {
  return test::source() / "data/demo/models/small";
}

/// Of rows [n, d], by the model itself.
at::Tensor log_probabilities(const model::Transformer& model, const at::Tensor& rows) {
  at::Tensor all;
  model.log_probabilities(rows, [&](Index, const at::Tensor& piece) { all = all.defined() ? at::cat({all, piece}) : piece.clone(); });
  return all.to(at::kDouble);
}

/// A small step u of a row changes what tells two tokens apart by (g_v - g_w) . u / rms: against the model's head, whose soft-cap is
/// undone.
TEST(TokenDirections, AreTheSlopesOfTheModelsLogits) {
  const c10::InferenceMode no_gradients;
  const auto config = model::read_config(small_model());
  const std::vector<std::int32_t> ids{5, 77, 500, static_cast<std::int32_t>(config.vocab - 1)};
  const auto directions = token_directions(world(), small_model(), ids);
  const Index d = config.hidden;
  ASSERT_EQ(static_cast<Index>(directions.size()), d * static_cast<Index>(ids.size()));
  // The model's RMSNorm of e_j sqrt(d) is w_j e_j sqrt(d), so that logits of one-hot rows are columns of the head.
  const model::Transformer model(small_model(), {config.layers, config.layers, true}, at::kFloat, at::kCPU, d);
  const at::Tensor probabilities = log_probabilities(model, at::eye(d, at::kFloat));
  const auto scale = std::sqrt(static_cast<double>(d));
  for (Index j = 0; j < d; j += 17) {
    std::vector<double> expected;
    for (std::size_t i = 0; i < ids.size(); ++i) expected.push_back(directions[i * place(d) + place(j)] * scale);
    // Differences of log p are those of capped logits, which are small against the cap here.
    for (std::size_t i = 1; i < ids.size(); ++i) {
      const double difference = (probabilities[j][ids[i]] - probabilities[j][ids[0]]).item<double>();
      const double linear = expected[i] - expected[0];
      EXPECT_NEAR(difference, linear, 0.02 + 0.1 * std::abs(linear)) << j;
    }
  }
  at::Tensor sum = at::zeros({d}, at::kDouble); // over the whole vocabulary they are centred
  std::vector<std::int32_t> all;
  for (std::int32_t id = 0; id < config.vocab; ++id) all.push_back(id);
  const auto everything = token_directions(world(), small_model(), all);
  double largest = 0;
  for (Index j = 0; j < d; ++j) {
    double column = 0;
    for (std::size_t v = 0; v < all.size(); ++v) column += everything[v * place(d) + place(j)];
    largest = std::max(largest, std::abs(column));
  }
  EXPECT_LT(largest, 1e-9);
  test::expect_error(ExitCode::bad_data, "a vocabulary of",
                     [&] { token_directions(world(), small_model(), {static_cast<std::int32_t>(config.vocab)}); });
}

/// Behind a LayerNorm a step along all columns at once changes no logit, and any other one what tells two tokens apart as the directions
/// say.
TEST(TokenDirections, AreTheSlopesOfLogitsBehindALayerNorm) {
  const c10::InferenceMode no_gradients;
  for (const char* folder : {"tests/golden/tiny_gpt2", "tests/golden/tiny_pythia"}) {
    const auto path = test::source() / folder;
    const auto config = model::read_config(path);
    const Index d = config.hidden;
    const std::vector<std::int32_t> ids{5, 77, 96};
    const auto directions = token_directions(world(), path, ids);
    const at::Tensor g = at::tensor(directions).view({3, d});
    EXPECT_LT(g.sum(-1).abs().max().item<double>(), 1e-12) << folder;
    const model::Transformer model(path, {config.layers, config.layers, true}, at::kFloat, at::kCPU, d);
    // Rows of mean 0 and variance 1 in many directions: LayerNorm leaves them as they are, but for eps.
    at::Tensor rows = at::randn({64, d}, at::detail::createCPUGenerator(3)).to(at::kDouble);
    rows = rows - rows.mean(-1, true);
    rows = rows / rows.square().mean(-1, true).sqrt();
    const at::Tensor logits = log_probabilities(model, rows.to(at::kFloat));
    const at::Tensor shifted = log_probabilities(model, (rows + 3.0).to(at::kFloat));
    EXPECT_LT((logits - shifted).abs().max().item<double>(), 1e-3) << folder;
    const at::Tensor linear = at::matmul(rows, g.t());
    for (Index i = 1; i < 3; ++i) { // differences between rows, since LayerNorm's bias is the same in each
      const auto between = [&](const at::Tensor& of, std::int64_t x, std::int64_t y) { return of.select(1, x) - of.select(1, y); };
      const at::Tensor got = between(logits, ids[place(i)], ids[0]);
      const at::Tensor want = between(linear, i, 0);
      EXPECT_LT(((got - got[0]) - (want - want[0])).abs().max().item<double>(), 1e-3) << folder;
    }
  }
}

constexpr int concepts = 3;

TEST(FirstTokensOfWords, AreCountedOnPhrasesHeldOut) {
  std::vector<test::PieceContext> contexts;
  for (Index c = 0; c < 5; ++c) contexts.push_back({c, {"<bos>", "a", "b", "c", "a", "d", "a"}});
  const corpus::TokenReader tokens(test::token_file("first", contexts));
  std::vector<Span> spans;
  std::map<std::int32_t, std::vector<double>> expected;
  for (Index i = 0; i + 2 < tokens.count(); ++i) {
    Span span;
    span.begin = i;
    span.end = i + 1 + i % 2;
    span.concept_number = static_cast<std::int32_t>(i * i % concepts);
    span.phrase_half = static_cast<std::int8_t>(i % 5 < 3 ? 1 : 0);
    span.random = i % 7 == 3;
    spans.push_back(span);
    if (span.random || span.phrase_half == 0) continue;
    auto& counts = expected[tokens.ids(i, 1)[0]];
    counts.resize(concepts);
    ++counts[place(span.concept_number)];
  }
  const auto found = first_tokens(world(), tokens, spans, concepts);
  ASSERT_EQ(found.ids.size(), expected.size());
  std::size_t i = 0;
  for (const auto& [id, counts] : expected) {
    EXPECT_EQ(found.ids[i], id);
    EXPECT_EQ(found.counts[i++], counts);
  }
  EXPECT_TRUE(first_tokens(world(), tokens, {}, concepts).ids.empty());
}

TEST(LogitShares, EqualAPlainLoop) {
  constexpr Index d = 9;
  const Philox random(4, "logits");
  std::uint64_t draw = 0;
  LayerBases bases;
  bases.d = d;
  for (int kind = 0; kind < basis_kinds; ++kind) {
    bases.of.emplace_back();
    for (Index c = 0; c < concepts; ++c) {
      const Index k = (kind + c) % 4; // some have none
      std::vector<double> columns;
      for (Index i = 0; i < d * k; ++i) columns.push_back(random.normal(draw++));
      bases.of.back().push_back(agreement::leading_subspace(columns, d, k, k));
    }
  }
  FirstTokens tokens;
  std::vector<double> directions;
  for (std::int32_t id = 0; id < 7; ++id) {
    tokens.ids.push_back(3 * id);
    tokens.counts.push_back({static_cast<double>(id % 3), id == 2 ? 5.0 : 0.0, 0.0});        // the last concept has no spans
    for (Index j = 0; j < d; ++j) directions.push_back(id == 5 ? 0 : random.normal(draw++)); // one that nothing tells apart
  }
  const auto found = logit_shares(world(), tokens, directions, bases);
  ASSERT_EQ(found.size(), static_cast<std::size_t>(basis_kinds * concepts * concepts));
  for (int kind = 0; kind < basis_kinds; ++kind)
    for (Index c = 0; c < concepts; ++c)
      for (Index other = 0; other < concepts; ++other) {
        const Basis& basis = bases.of[place(kind)][place(c)];
        const double value = found[place((kind * concepts + c) * concepts + other)];
        double sum = 0;
        double count = 0;
        for (std::size_t v = 0; v < tokens.ids.size(); ++v) {
          double inside = 0;
          double all = 0;
          for (Index j = 0; j < d; ++j) all += directions[v * place(d) + place(j)] * directions[v * place(d) + place(j)];
          for (Index i = 0; i < basis.k; ++i) {
            double product = 0;
            for (Index j = 0; j < d; ++j) product += basis.u[place(j * basis.k + i)] * directions[v * place(d) + place(j)];
            inside += product * product;
          }
          sum += all > 0 ? tokens.counts[v][place(other)] * inside / all : 0;
          count += tokens.counts[v][place(other)];
        }
        if (basis.k == 0 || count == 0) {
          EXPECT_TRUE(std::isnan(value));
        } else {
          EXPECT_NEAR(value, sum / count, 1e-12);
        }
      }
}

// --- Co-activation ----------------------------------------------------------------------------------------------------

constexpr Index features_there = 40;

/// Contexts of unequal length.
test::Codes some_codes(Index contexts) {
  const Philox random(2, "codes");
  std::uint64_t draw = 0;
  test::Codes codes;
  for (Index c = 0; c < contexts; ++c) {
    const Index length = 1 + static_cast<Index>(random.below(draw++, 40));
    for (Index row = 0; row < length; ++row) {
      codes.row_kind.push_back(row == 0 ? 1 : 0);
      for (std::int32_t f = 0; f < features_there && row > 0; ++f) {
        if (random.uniform(draw++) > 0.01) continue;
        codes.indices.push_back(f);
        codes.data.push_back(1);
      }
      codes.indptr.push_back(static_cast<Index>(codes.indices.size()));
    }
    codes.offsets.push_back(codes.offsets.back() + length);
  }
  return codes;
}

struct SlowTogether {
  double log_odds = std::nan("");
  double phi = log_odds;
  double npmi = log_odds;
};

/// Window by window with sets.
SlowTogether slow_together(const test::Codes& codes, std::vector<std::int32_t> one, std::vector<std::int32_t> other, Index window) {
  const std::set<std::int32_t> of_one(one.begin(), one.end());
  const std::set<std::int32_t> of_other(other.begin(), other.end());
  std::erase_if(one, [&](std::int32_t f) { return of_other.contains(f); });
  std::erase_if(other, [&](std::int32_t f) { return of_one.contains(f); });
  if (one.empty() || other.empty()) return {};
  double n[2][2] = {{0, 0}, {0, 0}};
  for (std::size_t c = 0; c + 1 < codes.offsets.size(); ++c)
    for (Index begin = codes.offsets[c]; begin < codes.offsets[c + 1]; begin += window) {
      std::set<std::int32_t> active;
      for (Index row = begin; row < std::min(begin + window, codes.offsets[c + 1]); ++row)
        active.insert(codes.indices.begin() + codes.indptr[place(row)], codes.indices.begin() + codes.indptr[place(row) + 1]);
      const auto any = [&](const std::vector<std::int32_t>& list) {
        return std::any_of(list.begin(), list.end(), [&](std::int32_t f) { return active.contains(f); });
      };
      ++n[any(one) ? 1 : 0][any(other) ? 1 : 0];
    }
  SlowTogether found;
  found.log_odds = std::log((n[1][1] + 0.5) * (n[0][0] + 0.5) / ((n[1][0] + 0.5) * (n[0][1] + 0.5)));
  const double all = n[1][1] + n[1][0] + n[0][1] + n[0][0];
  const double with_one = n[1][1] + n[1][0];
  const double with_other = n[1][1] + n[0][1];
  const double margins = with_one * (all - with_one) * with_other * (all - with_other);
  if (margins > 0) found.phi = (n[1][1] * n[0][0] - n[1][0] * n[0][1]) / std::sqrt(margins);
  if (n[1][1] > 0 && n[1][1] < all) found.npmi = std::log(all * n[1][1] / (with_one * with_other)) / -std::log(n[1][1] / all);
  return found;
}

void expect_same(double value, double expected) {
  EXPECT_EQ(std::isnan(value), std::isnan(expected));
  if (!std::isnan(expected)) {
    EXPECT_NEAR(value, expected, 1e-12);
  }
}

TEST(MembersTogether, EqualSetsWindowByWindow) {
  // Two that share a member, one whose only member the other has, one without, and lone ones; more than 64 places are not there.
  const std::vector<std::vector<std::int32_t>> members{{1, 2, 3}, {3, 4, 5, 6}, {4}, {}, {20, 21, 22, 23, 24}, {39}};
  for (const Index contexts : {1, 2, 700}) {
    const auto codes = some_codes(contexts);
    const features::FeaturesFile file(test::features_file("coactivation", codes, features_there));
    for (const Index window : {1, 8, 64}) {
      const auto found = members_together(world(), file, 2, members, codes.offsets, window);
      ASSERT_EQ(found.log_odds.size(), members.size() * members.size());
      for (std::size_t c = 0; c < members.size(); ++c)
        for (std::size_t other = 0; other < members.size(); ++other) {
          SCOPED_TRACE(fmt::format("{} {} window {}", c, other, window));
          const auto expected = c == other ? SlowTogether() : slow_together(codes, members[c], members[other], window);
          expect_same(found.log_odds[c * members.size() + other], expected.log_odds);
          expect_same(found.phi[c * members.size() + other], expected.phi);
          expect_same(found.npmi[c * members.size() + other], expected.npmi);
        }
    }
  }
}

TEST(MembersTogether, OfManyMembers) {
  std::vector<std::vector<std::int32_t>> members(3);
  for (std::int32_t f = 0; f < features_there; ++f) members[static_cast<std::size_t>(f % 3)].push_back(f);
  for (std::int32_t f = 100; f < 300; ++f) members[0].push_back(f); // never active, so that sets are of several words
  members[1].push_back(299);
  const auto codes = some_codes(300);
  const features::FeaturesFile file(test::features_file("coactivation", codes, 300));
  const auto found = members_together(world(), file, 2, members, codes.offsets, 4);
  for (std::size_t c = 0; c < 3; ++c)
    for (std::size_t other = 0; other < 3; ++other)
      if (c != other) {
        EXPECT_NEAR(found.log_odds[c * 3 + other], slow_together(codes, members[c], members[other], 4).log_odds, 1e-12);
      }
}

// --- Agreement --------------------------------------------------------------------------------------------------------

/// Matrices that are alike by construction agree, others do not; in the file they lie where their layers are.
TEST(GeometryOfTwoModels, IsTestedPairByPair) {
  constexpr Index c = 16;
  const Extent extent{c, 4, {1, 2}, {5, 6, 7}, true};
  const Philox random(8, "geometry");
  std::uint64_t draw = 0;
  std::vector<double> together;
  for (Index i = 0; i < c * c; ++i) together.push_back(random.normal(draw++));
  std::vector<double> shared;
  for (Index i = 0; i < c * c; ++i) shared.push_back(random.normal(draw++));
  const auto noisy = [&](double share) {
    std::vector<double> matrix;
    for (const double value : shared) matrix.push_back(share * value + 0.5 * random.normal(draw++));
    return matrix;
  };
  const auto path = test::empty_folder("geometry") / "subspaces.h5";
  std::map<std::pair<char, Index>, LayerGeometry> layers;
  for (const auto& [side, count] : {std::pair{'a', Index{2}}, std::pair{'b', Index{3}}})
    for (Index layer = 0; layer < count; ++layer) {
      LayerGeometry geometry;
      geometry.coactivation.log_odds = noisy(layer == 0 ? 1 : 0); // A 1 and B 5 are alike
      geometry.coactivation.phi = geometry.coactivation.npmi = noisy(0);
      for (int kind = 0; kind < basis_kinds; ++kind) {
        const auto matrix = kind == 1 ? noisy(layer == 1 ? 1 : 0) : std::vector<double>(place(c * c), std::nan(""));
        geometry.logits.insert(geometry.logits.end(), matrix.begin(), matrix.end());
      }
      layers[{side, layer}] = geometry;
    }
  std::optional<io::File> file;
  if (world().rank() == 0) {
    file.emplace(io::File::create(path));
    lay_out(*file, extent);
    lay_out_geometry(*file, extent);
    for (const auto& [key, geometry] : layers) write_geometry(*file, key.first, key.second, geometry);
    for (const char side : {'a', 'b'})
      file->dataset(std::string("/") + side + "/overlap_excess")
          .write_all(std::vector<double>(place((side == 'a' ? 2 : 3) * basis_kinds * c * c), std::nan("")));
  }
  const std::vector<Index> groups{0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3};
  const std::vector<Index> tested{0, 4, 5};
  test_geometry(world(), file ? &*file : nullptr, extent, {tested, groups, together, 199, 3});
  if (world().rank() != 0) return;
  const auto numbers = [&](const std::string& name) { return file->dataset("/claim/" + name).read_all<double>(); };
  for (const char* name : {"r", "t", "p", "p_grouped", "p_max", "concepts"}) {
    const auto coactivation = numbers(std::string("coactivation/") + name);
    const auto logits = numbers(std::string("logits/") + name);
    ASSERT_EQ(coactivation.size(), 6U);
    ASSERT_EQ(logits.size(), 6U * basis_kinds);
    for (Index pair = 0; pair < 6; ++pair) {
      const bool is_tested = std::find(tested.begin(), tested.end(), pair) != tested.end();
      EXPECT_EQ(std::isnan(coactivation[place(pair)]), !is_tested) << name << pair;
      for (int kind = 0; kind < basis_kinds; ++kind)
        EXPECT_EQ(std::isnan(logits[place(kind * 6 + pair)]), !is_tested || kind != 1) << name << pair;
    }
  }
  EXPECT_GT(numbers("coactivation/r")[0], 0.5);
  EXPECT_LT(std::abs(numbers("coactivation/r")[4]), 0.3);
  EXPECT_LE(numbers("coactivation/p_grouped")[0], 0.01);
  EXPECT_LE(numbers("coactivation/p_max")[0], 0.01);
  EXPECT_GT(numbers("logits/r")[6 + 4], 0.5);
  EXPECT_LT(std::abs(numbers("logits/r")[6]), 0.3);
  const agreement::MatrixPair one{
      c, {layers[{'a', 0}].coactivation.log_odds}, {layers[{'b', 0}].coactivation.log_odds}, {together}, groups};
  const auto expected = agreement::matrix_agreement(one, {199, 3});
  EXPECT_DOUBLE_EQ(numbers("coactivation/r")[0], expected.r);
  EXPECT_DOUBLE_EQ(numbers("coactivation/p")[0], expected.free.p_robust);
  EXPECT_DOUBLE_EQ(numbers("coactivation/p_grouped")[0], expected.grouped.p_robust);
}

} // namespace
} // namespace concord::subspaces
