// What each stage costs, against numbers worked by hand and against the program's own counts.
#include "concord/core/philox.hpp"
#include "concord/cost/stages.hpp"
#include "concord/sae/rows/window_feed.hpp"

#include "sae/kinds/architecture.hpp"
#include "sae/step/exchange.hpp"
#include "support/support.hpp"
#include <cmath>
#include <map>

namespace concord::cost {
namespace {

using test::world;

double sum_of(const std::vector<Phase>& phases, double Phase::*number) {
  double sum = 0;
  for (const Phase& phase : phases) sum += phase.*number;
  return sum;
}

TEST(Cost, TextComesInPieces) {
  // 10 pieces and a bit by 4 ranks: the busiest has 3 of 11.
  const auto phases = tokenize_cost({.text = 1050, .piece = 100, .written = 7}, {.ranks = 4, .on_node = 4});
  EXPECT_DOUBLE_EQ(amount_of(phases, Work::text), 1050);
  EXPECT_DOUBLE_EQ(phases[0].shared[0].busiest, 3 * 4.0 / 11);
  EXPECT_DOUBLE_EQ(phases[0].written, 7);
}

TEST(Cost, BlocksGoThroughReplicasAndShards) {
  // 1000 tokens in blocks of 100, 2 replicas of 3 shards: 5 blocks a replica pass 3 shards in 7 steps.
  const ExtractSize size{
      .tokens = 1000, .batch_rows = 100, .row_flops = 50, .width = 8, .layers = 2, .model_bytes = 400, .written = 99, .shards = 3};
  const auto phases = extract_cost(size, {.ranks = 6, .on_node = 3});
  EXPECT_DOUBLE_EQ(amount_of(phases, Work::product_f32), 1000 * 50);
  const Phase& blocks = phases.back();
  EXPECT_EQ(blocks.units, 10);
  EXPECT_EQ(blocks.groups, 2);
  EXPECT_EQ(blocks.ranks, 3);
  EXPECT_DOUBLE_EQ(blocks.shared[0].busiest, 7.0 / 5);
  EXPECT_DOUBLE_EQ(blocks.bytes_within, 100 * 8 * 4);
  EXPECT_DOUBLE_EQ(sum_of(phases, &Phase::read), 800); // on two nodes
  EXPECT_DOUBLE_EQ(sum_of(phases, &Phase::written), 99);
  EXPECT_DOUBLE_EQ(amount_of(extract_cost({.tokens = 10, .batch_rows = 5, .row_flops = 2, .bf16 = true}, {}), Work::product_bf16), 20);
}

TEST(Cost, AStepIsSharedByRowsAndByLatents) {
  const TrainingSize size{
      .trainings = 3, .groups = 2, .rows = 1000, .row_bytes = 4, .steps = 10, .batch = 64, .latents = 1024, .active = 5, .width = 8};
  const auto phases = training_cost(size, {.ranks = 6, .on_node = 6});
  const Phase& steps = phases[0];
  EXPECT_EQ(steps.units, 3);
  EXPECT_EQ(steps.groups, 2);
  EXPECT_EQ(steps.ranks, 3);
  EXPECT_DOUBLE_EQ(amount_of(phases, Work::screen_int8), 3 * 10.0 * 64 * 1024 * 8);
  EXPECT_DOUBLE_EQ(amount_of(phases, Work::weights), 3 * 10.0 * 1024 * 8);
  EXPECT_DOUBLE_EQ(amount_of(phases, Work::rows), 3 * 10.0 * 64 * 5 * 8);
  for (const Amount& amount : steps.shared)
    if (amount.work == Work::weights) {
      EXPECT_DOUBLE_EQ(amount.busiest, 2 * 3 / 4.0); // 4 pieces of 256 latents by 3 ranks
    }
  EXPECT_EQ(steps.alone.size(), 2); // every rank sees the whole batch
  TrainingSize fast = size;
  fast.reproducible = false;
  EXPECT_TRUE(training_cost(fast, {.ranks = 6, .on_node = 6})[0].alone.empty());
  EXPECT_DOUBLE_EQ(phases[1].read, 3 * 1000 * 4);
}

TEST(Cost, BytesOfAStepAreThoseOfTheExchange) {
  for (const auto reduction : {sae::Reduction::reproducible, sae::Reduction::fast})
    for (const auto kind : {sae::Kind::topk, sae::Kind::gated}) {
      sae::ArchitectureSettings settings;
      settings.kind = kind;
      settings.d = 24;
      settings.latents = 2048;
      settings.k = 7;
      settings.batch = 96;
      const auto architecture = sae::make_architecture(world(), settings);
      const sae::Exchange exchange(world(), *architecture, reduction);
      const TrainingSize size{.batch = 96,
                              .latents = 2048,
                              .active = 7,
                              .width = 24,
                              .scalars = static_cast<double>(architecture->scalars()),
                              .reproducible = reduction == sae::Reduction::reproducible};
      EXPECT_NEAR(training_bytes_a_step(size, world().size(), world().size()), exchange.bytes_a_step(96, 7), 1e-6);
    }
}

/// The sums over rows that `correlate` takes, counted on random features with as many a row.
TEST(Cost, ProductsAndPostingsAreThoseOfTheRows) {
  constexpr Index rows = 50, k_a = 3, k_b = 5;
  double products = 0, postings = 0;
  for (Index t = 0; t < rows; ++t)
    for (Index a = 0; a < k_a; ++a) {
      ++postings;
      for (Index b = 0; b < k_b; ++b) ++products;
    }
  const CorrelateSize size{.layers_a = 2,
                           .layers_b = 3,
                           .rows = rows,
                           .features_a = 40,
                           .features_b = 60,
                           .active_a = k_a,
                           .active_b = k_b,
                           .shifts = 4,
                           .best = 8,
                           .memory = 1e9};
  const auto phases = correlate_cost(size, {});
  EXPECT_DOUBLE_EQ(amount_of(phases, Work::products), 6 * 5 * products);
  EXPECT_DOUBLE_EQ(amount_of(phases, Work::postings), 6 * 5 * postings);
  EXPECT_DOUBLE_EQ(amount_of(phases, Work::looks), 6 * 5 * 40.0 * 60);
  EXPECT_DOUBLE_EQ(amount_of(phases, Work::matches), 6 * 100.0);
  EXPECT_DOUBLE_EQ(amount_of(phases, Work::entries), 2 * rows * k_a + 3 * rows * k_b); // all layers fit: each is loaded once
}

TEST(Cost, LayersThatDoNotFitAreLoadedAgain) {
  CorrelateSize size{
      .layers_a = 2, .layers_b = 3, .rows = 1000, .features_a = 40, .features_b = 60, .active_a = 3, .active_b = 5, .shifts = 1, .best = 8};
  const double tables = 100 * (32 * 8 + 8 + 64), a = 8.0 * 3000, b = 6.0 * 5000 + 10 * 1000;
  size.memory = tables + a + b + 1; // a pair, but no second layer of B
  EXPECT_DOUBLE_EQ(amount_of(correlate_cost(size, {}), Work::entries), 2 * 3000.0 + 6 * 5000.0);
  size.memory = tables + a + b - 1; // pieces, B's anew for each shift
  EXPECT_DOUBLE_EQ(amount_of(correlate_cost(size, {}), Work::entries), 6 * 3000.0 + 12 * 5000.0);
  size.memory = tables + a + 3 * b + 1;
  EXPECT_DOUBLE_EQ(sum_of(correlate_cost(size, {}), &Phase::read), 2 * (8 * 3000.0 + 8000) + 3 * (8 * 5000.0 + 8000));
}

TEST(Cost, AComparisonCountsPermutationsByWholeOnes) {
  const CompareSize size{.layers_a = 1,
                         .layers_b = 2,
                         .matches = 300,
                         .features_a = 400,
                         .features_b = 400,
                         .width_a = 20,
                         .width_b = 30,
                         .kept_a = 5,
                         .kept_b = 6,
                         .permutations = 10,
                         .kendall = 50,
                         .memory = 1e9};
  const auto phases = compare_cost(size, {.ranks = 4, .on_node = 4});
  const Phase& pairs = phases[0];
  EXPECT_EQ(pairs.units, 2);
  EXPECT_EQ(pairs.ranks, 4);
  EXPECT_DOUBLE_EQ(amount_of(phases, Work::dissimilarities), 2 * 300.0 * 300 / 2);
  EXPECT_DOUBLE_EQ(amount_of(phases, Work::shuffled), 2 * 2 * 10 * 300.0 * 300 / 2);
  EXPECT_DOUBLE_EQ(amount_of(phases, Work::kendall), 2 * 10 * 50);
  EXPECT_DOUBLE_EQ(amount_of(phases, Work::eigenvectors), 2 * 30.0 * 30 * 30); // the larger; the other's beside it
  EXPECT_DOUBLE_EQ(amount_of(phases, Work::eigenvalues), 2 * 11 * 3 * (5.0 * 5 * 5 + 20.0 * 20 * 20));
  for (const Amount& amount : pairs.shared)
    if (amount.work == Work::shuffled) {
      EXPECT_DOUBLE_EQ(amount.busiest, 3 * 4 / 10.0);
    }
  const double products = 300.0 * (20 * 20 + 30 * 30) + 2 * 300.0 * 20 * 30 + 300.0 * 300 * 50 // the pairing as it is, and RDMs
                          + 2 * 300.0 * (20 * 20 + 30 * 30) + 10 * 2 * 300.0 * 20 * 30;        // bases, shuffled pairings
  EXPECT_DOUBLE_EQ(amount_of(phases, Work::product_f64), 2 * products);
  CompareSize alone = size;
  alone.permutations = 0;
  EXPECT_DOUBLE_EQ(amount_of(compare_cost(alone, {}), Work::eigenvectors), 2 * (20.0 * 20 * 20 + 30.0 * 30 * 30));
  EXPECT_DOUBLE_EQ(amount_of(compare_cost(alone, {}), Work::shuffled), 0);
  alone.subsets = 3;
  EXPECT_DOUBLE_EQ(amount_of(compare_cost(alone, {}), Work::dissimilarities), 2 * 4 * 300.0 * 300 / 2);
}

TEST(Cost, AnEncodingReadsRowsAndWritesCodesTwice) {
  const EncodeSize size{.layers = 2, .rows = 10000, .row_bytes = 16, .latents = 64, .active = 4, .width = 8, .top = 3, .written = 1000};
  const auto phases = encode_cost(size, {.ranks = 2, .on_node = 2});
  EXPECT_DOUBLE_EQ(amount_of(phases, Work::screen_bf16), 2 * 10000.0 * 64 * 8);
  EXPECT_DOUBLE_EQ(amount_of(phases, Work::codes), 2 * (10000.0 * 4 + 64 * 3));
  EXPECT_DOUBLE_EQ(phases[0].shared[0].busiest, 3 * 2 / 5.0); // 5 pieces of 2048 rows
  EXPECT_DOUBLE_EQ(phases[0].read, 2 * (10000.0 * 16 + 8 * 64 * 8 + 8 * 40000));
  EXPECT_DOUBLE_EQ(phases[0].written, 1000 + 2 * 8 * 40000);
}

/// Rows that fall to ranks at random: drawn, beside the formula.
TEST(Cost, TheBusiestRankOfRandomRows) {
  constexpr Index batch = 2048, ranks = 16;
  constexpr int draws = 400;
  double largest = 0;
  for (int draw = 0; draw < draws; ++draw) {
    const Philox random(1, "busiest", static_cast<std::uint64_t>(draw));
    std::map<std::uint64_t, int> counts;
    for (Index row = 0; row < batch; ++row) ++counts[random.below(static_cast<std::uint64_t>(row), ranks)];
    int most = 0;
    for (const auto& [rank, count] : counts) most = std::max(most, count);
    largest += most / static_cast<double>(draws);
  }
  const auto phases =
      training_cost({.steps = 1, .batch = batch, .latents = 4096, .active = 1, .width = 1}, {.ranks = ranks, .on_node = ranks});
  EXPECT_NEAR(phases[0].shared[0].busiest, largest / (static_cast<double>(batch) / ranks), 0.06);
}

} // namespace
} // namespace concord::cost
