// Effects on a model in layer shards: the same bits at any mixture of replicas and shards as of the whole model on one rank.
#include "concord/comm/stop.hpp"
#include "concord/subspaces/memory_plan.hpp"

#include "concepts/token_file.hpp"
#include "subspaces/effects/model_runner.hpp"
#include "subspaces/npy_file.hpp"
#include "subspaces/whole_runs.hpp"
#include <csignal>
#include <cstring>
#include <numeric>

namespace concord::subspaces {
namespace {

using namespace whole_runs;
using test::world;
using worlds::alone;

constexpr Index concepts = 2;
constexpr Index after = 4;
constexpr Index longest = 40;
const std::vector<Index> lengths{40, 17, 33, 40, 21, 9, 38, 25};

// --- What is measured -------------------------------------------------------------------------------------------------

std::filesystem::path small_path() {
  return test::source() / "data/demo/models/small";
}

extract::ExtractOptions options_of(int shards, Dtype compute = Dtype::f32) {
  extract::ExtractOptions options;
  options.model = small_path();
  options.device = Device::cpu;
  options.compute = compute;
  options.layer_shards = shards;
  return options;
}

const corpus::TokenReader& tokens() {
  static const corpus::TokenReader reader([] {
    std::vector<test::PieceContext> contexts;
    for (std::size_t c = 0; c < lengths.size(); ++c) {
      contexts.push_back({static_cast<Index>(c), {"<bos>"}});
      for (Index i = 1; i < lengths[c]; ++i) contexts.back().pieces.push_back(fmt::format("t{}", (11 + 37 * i * i + 5 * c) % 90));
    }
    return test::token_file("shards", contexts);
  }());
  return reader;
}

/// Two or three in each context, one of them at its end. The one of four tokens has no like.
std::vector<Span> some_spans() {
  std::vector<Span> spans;
  Index first = 0;
  for (std::size_t c = 0; c < lengths.size(); ++c) {
    const Index end = lengths[c];
    for (const auto& [begin, length] : {std::pair<Index, Index>{c % 3 == 0 ? 0 : 2, c == 2 ? 4 : 1}, {5, 2}, {end - 2, 2}}) {
      if (c == 5 && begin == 5) continue;
      Span span;
      span.begin = first + begin;
      span.end = span.begin + length;
      span.document = static_cast<Index>(c);
      span.document_half = static_cast<std::int8_t>(c % 2);
      span.concept_number = static_cast<std::int32_t>(spans.size() % concepts);
      span.kind = static_cast<SpanKind>(c % 2);
      spans.push_back(span);
    }
    first += end;
  }
  return spans;
}

struct Measured {
  std::vector<Span> spans = some_spans();
  std::vector<std::int32_t> at_spans;
  LayerBases bases;
  RemovedBases removed{{BasisKind::residual, BasisKind::dealt}, concepts};
  std::map<std::int32_t, Donors> donors;
  SteeringDirections directions;
  ConceptTokens first_tokens{{5, 9, 77, 30}, {0, 1, 0, 1}, {2, 2}};

  Measured() : at_spans(spans.size()), directions{{BasisKind::residual}, concepts, small_model().config().hidden, {}, {5, 7}} {
    std::iota(at_spans.begin(), at_spans.end(), 0);
    bases.d = directions.d;
    bases.centre = some_centre();
    bases.of.assign(basis_kinds, std::vector<Basis>(concepts, Basis{bases.d, 0, {}, 0}));
    for (const BasisKind kind : removed.kinds)
      for (Index c = 0; c < concepts; ++c)
        bases.of[static_cast<std::size_t>(kind)][place(c)] =
            random_basis(10 * static_cast<std::uint64_t>(kind) + static_cast<std::uint64_t>(c), 3 + c);
    donors = draw_donors(spans, at_spans, {}, 4);
    for (std::uint64_t c = 0; c < concepts; ++c) directions.unit.push_back(random_basis(70 + c, 1).u);
  }
  std::vector<const Basis*> all() const {
    std::vector<const Basis*> list;
    for (const BasisKind kind : removed.kinds)
      for (const Basis& basis : bases.of[static_cast<std::size_t>(kind)]) list.push_back(&basis);
    return list;
  }
  EffectPlaces places() const { return {spans, at_spans, after}; }
};

const io::RowSource& some_rows() {
  static const io::RowSource source([] {
    const Philox random(9, "rows");
    std::vector<float> values;
    for (Index i = 0; i < tokens().count() * small_model().config().hidden; ++i)
      values.push_back(static_cast<float>(2 * random.normal(static_cast<std::uint64_t>(i))));
    return test::npy_of("shards", values, small_model().config().hidden);
  }());
  return source;
}

/// The embedding, the first and the last layer, and those at which shards are cut.
std::vector<int> layers_of(int shards) {
  const auto& config = small_model().config();
  std::set<int> layers{-1, 0, config.layers - 1};
  const int there = std::min({shards, world().size(), config.layers});
  for (int shard = 0; shard < there; ++shard) {
    const auto blocks = blocks_of_shard(config, there, shard, longest);
    layers.insert(blocks.end - 1);
    layers.insert(blocks.first);
  }
  return {layers.begin(), layers.end()};
}

template <typename T>
void expect_same_bits(const std::vector<T>& found, const std::vector<T>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  EXPECT_TRUE(found.empty() || std::memcmp(found.data(), expected.data(), expected.size() * sizeof(T)) == 0); // memcmp takes no null
}

/// What the whole model gives on one rank: rank 0 alone looks, and the others have nothing to hold it against.
template <typename Measure>
auto on_rank_0(const Measure& measure) {
  return world().rank() == 0 ? measure() : decltype(measure()){};
}

/// Rank 0 has them.
void expect_same(const SpanEffects& found, const SpanEffects& expected) {
  if (world().rank() != 0) {
    EXPECT_TRUE(found.span.empty() && found.effects.empty() && found.energy_of_span.empty());
    return;
  }
  EXPECT_EQ(found.span, expected.span);
  expect_same_bits(found.effects, expected.effects);
  expect_same_bits(found.energy_of_span, expected.energy_of_span);
}

class EffectsInShards : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Shards, EffectsInShards, ::testing::Values(1, 2, 3, 99));

// --- Equal bits -------------------------------------------------------------------------------------------------------

TEST_P(EffectsInShards, OfRemovalsAreThoseOfTheWholeModel) {
  const Measured m;
  for (const Dtype compute : {Dtype::f32, Dtype::bf16}) {
    ModelRunner whole(alone(), options_of(1, compute), tokens());
    ModelRunner shards(world(), options_of(GetParam(), compute), tokens());
    for (const int layer : layers_of(GetParam())) {
      SCOPED_TRACE(fmt::format("layer {} in {}", layer, name_of(compute)));
      const auto expected = on_rank_0([&] { return whole.span_effects(layer, m.bases.centre, m.all(), m.places()); });
      ASSERT_EQ(expected.span, world().rank() == 0 ? m.at_spans : std::vector<std::int32_t>{});
      for (const Effect& effect : expected.effects) EXPECT_TRUE(effect.kl > -1e-6 && effect.energy > 0);
      expect_same(shards.span_effects(layer, m.bases.centre, m.all(), m.places()), expected);
      if (compute == Dtype::bf16) break; // the embedding
    }
  }
}

TEST_P(EffectsInShards, OfResampledRemovalsAreThoseOfTheWholeModel) {
  const Measured m;
  const Resampling resampling{m.donors, some_rows()};
  ModelRunner whole(alone(), options_of(1), tokens());
  ModelRunner shards(world(), options_of(GetParam()), tokens());
  for (const int layer : layers_of(GetParam())) {
    SCOPED_TRACE(layer);
    const auto expected = on_rank_0([&] { return whole.effects(layer, m.bases, m.removed, m.places(), &resampling); });
    const auto found = shards.effects(layer, m.bases, m.removed, m.places(), &resampling);
    if (world().rank() != 0) continue;
    const auto known = std::count_if(expected.kl.begin(), expected.kl.end(), [](double value) { return !std::isnan(value); });
    EXPECT_GT(known, 0);
    expect_same_bits(found.kl, expected.kl);
    expect_same_bits(found.loss, expected.loss);
    expect_same_bits(found.energy, expected.energy);
    expect_same_bits(found.kl_of_spans, expected.kl_of_spans);
  }
  const auto lonely = std::count_if(m.donors.begin(), m.donors.end(), [](const auto& of) { return of.second[0] < 0; });
  EXPECT_EQ(lonely, 1) << "a span without a like is left out by all shards";
}

TEST_P(EffectsInShards, OfAddedDirectionsAreThoseOfTheWholeModel) {
  Measured m;
  ModelRunner whole(alone(), options_of(1), tokens());
  ModelRunner shards(world(), options_of(GetParam()), tokens());
  for (const bool any : {true, false}) {
    if (!any) m.directions.unit.assign(concepts, {});
    for (const int layer : layers_of(GetParam())) {
      SCOPED_TRACE(layer);
      const auto expected = on_rank_0([&] { return whole.steered(layer, m.directions, 1.5, m.first_tokens, m.places()); });
      const auto found = shards.steered(layer, m.directions, 1.5, m.first_tokens, m.places());
      if (world().rank() != 0) continue;
      EXPECT_EQ(std::isnan(expected.kl[expected.place(static_cast<int>(BasisKind::residual), 0, 0, 0)]), !any);
      expect_same_bits(found.kl, expected.kl);
      expect_same_bits(found.kl_error, expected.kl_error);
      expect_same_bits(found.writes, expected.writes);
    }
  }
}

/// Fewer contexts than replicas, and none.
TEST_P(EffectsInShards, OfFewSpansAreThoseOfTheWholeModel) {
  const Measured m;
  ModelRunner whole(alone(), options_of(1), tokens());
  ModelRunner shards(world(), options_of(GetParam()), tokens());
  for (const std::vector<std::int32_t>& some : {std::vector<std::int32_t>{4}, {}}) {
    const EffectPlaces places{m.spans, some, after};
    expect_same(shards.span_effects(2, m.bases.centre, m.all(), places),
                on_rank_0([&] { return whole.span_effects(2, m.bases.centre, m.all(), places); }));
  }
}

// --- Ends -------------------------------------------------------------------------------------------------------------

TEST_P(EffectsInShards, AreStoppedOnAllRanksAndMeasuredAnew) {
  const Measured m;
  ModelRunner shards(world(), options_of(GetParam()), tokens());
  const auto measured = [&] { return shards.span_effects(2, m.bases.centre, m.all(), m.places()); };
  const auto before = measured();
  comm::install_stop_flag(0);
  ::setenv("CONCORD_STOP_GRACE", "0", 1);
  if (world().rank() == world().size() - 1) std::raise(SIGUSR1);
  test::expect_error(ExitCode::stopped, "subspaces stopped early", measured);
  ::unsetenv("CONCORD_STOP_GRACE");
  comm::install_stop_flag(0);
  expect_same(measured(), before);
}

/// What goes wrong on one rank is thrown on all. In several shards it ends the job (tests/cli/test_subspaces_stage.py).
TEST(EffectsOfAWholeModel, FailTogether) {
  const Measured m;
  ModelRunner runner(world(), options_of(1), tokens());
  const auto bad = std::vector<double>(m.bases.centre.size(), std::nan(""));
  const std::vector<std::int32_t> one{m.at_spans.back()};
  test::expect_error(ExitCode::bad_data, "predictions are not finite", [&] {
    runner.span_effects(2, bad, m.all(), {m.spans, one, after});
  });
  test::expect_error(ExitCode::bad_data, "predictions are not finite", [&] { runner.span_effects(2, bad, m.all(), m.places()); });
  ModelRunner whole(alone(), options_of(1), tokens());
  expect_same(runner.span_effects(2, m.bases.centre, m.all(), m.places()),
              on_rank_0([&] { return whole.span_effects(2, m.bases.centre, m.all(), m.places()); }));
}

// --- Memory -----------------------------------------------------------------------------------------------------------

TEST(BlocksOfShards, AreTheModelOnceAndTakeTheirPartOfIt) {
  for (const char* name : {"small", "large"}) {
    const auto config = model::read_config(test::source() / "data/demo/models" / name);
    const model::LayerRange whole{0, config.layers, true};
    constexpr Index rows = 900;
    for (int shards = 1; shards <= config.layers; ++shards) {
      SCOPED_TRACE(fmt::format("{} in {} shards", name, shards));
      int end = 0;
      double weights = 0;
      double most = 0;
      for (int shard = 0; shard < shards; ++shard) {
        const auto blocks = blocks_of_shard(config, shards, shard, longest);
        EXPECT_EQ(blocks.first, end);
        EXPECT_GT(blocks.end, blocks.first);
        EXPECT_EQ(blocks.head, shard == shards - 1);
        end = blocks.end;
        weights += model::weight_bytes(config, blocks, Dtype::f32, false);
        most = std::max(most, effects_gpu_bytes(config, blocks, Dtype::f32, longest, rows));
      }
      EXPECT_EQ(end, config.layers);
      EXPECT_EQ(weights, model::weight_bytes(config, whole, Dtype::f32, false));
      const double of_whole = effects_gpu_bytes(config, whole, Dtype::f32, longest, rows);
      if (shards == 1)
        EXPECT_EQ(most, of_whole);
      else
        EXPECT_LT(most, of_whole);
    }
  }
}

/// Beside the weights: what the head's rank predicts with, and the keys of the others' blocks.
TEST(BlocksOfShards, WithoutTheHeadTakeNoPredictions) {
  const auto config = model::read_config(small_path());
  const auto beyond = [&](model::LayerRange blocks, Index rows) {
    return effects_gpu_bytes(config, blocks, Dtype::f32, longest, rows) - model::weight_bytes(config, blocks, Dtype::f32, true) -
           model::gpu_working_bytes(config, blocks, Dtype::f32, rows, 1 + rows / longest, longest);
  };
  const double copies = 4.0 * 3 * 100 * static_cast<double>(config.hidden);
  const double keys_of_block = 4.0 * longest * static_cast<double>(config.qkv_width());
  EXPECT_DOUBLE_EQ(beyond({1, 3, false}, 100), copies + 2 * keys_of_block);
  EXPECT_DOUBLE_EQ(beyond({1, 3, true}, 100), copies + 2 * keys_of_block + 4.0 * 4 * 100 * static_cast<double>(config.vocab));
}

} // namespace
} // namespace concord::subspaces
