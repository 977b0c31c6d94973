// What each stage costs: against what the program itself counts, and numbers worked by hand where units do not divide. What a whole study
// counts stands in tests/cli/test_plan.py.
#include "concord/comm/collectives.hpp"
#include "concord/core/at.hpp"
#include "concord/core/philox.hpp"
#include "concord/cost/stages.hpp"
#include "concord/sae/rows/window_feed.hpp"

#include "correlate/features/feature_source.hpp"
#include "correlate/sums/share_grid.hpp"
#include "sae/kinds/architecture.hpp"
#include "sae/step/exchange.hpp"
#include "support/support.hpp"
#include <cmath>

namespace concord::cost {
namespace {

using test::world;

double busiest_of(const std::vector<Phase>& phases, Work work) {
  for (const Phase& phase : phases)
    for (const Amount& amount : phase.shared)
      if (amount.work == work && amount.busiest > 1) return amount.busiest;
  return 1;
}

double read_by(const std::vector<Phase>& phases) {
  return traffic_of(phases, {}).read;
}

TEST(Cost, WholePiecesMakeTheBusiestRank) {
  // 1050 bytes in pieces of 100: of 11 pieces by 4 ranks the busiest has 3.
  EXPECT_DOUBLE_EQ(busiest_of(tokenize_cost({.text = 1050, .piece = 100}, {.ranks = 4, .on_node = 4}), Work::text), 3 * 4.0 / 11);
  // 10 blocks by 2 replicas of 3 shards: 5 blocks pass 3 shards in 7 turns.
  const ExtractSize blocks{.tokens = 1000, .batch_rows = 100, .row_flops = 50, .width = 8, .layers = 2, .model_bytes = 400, .shards = 3};
  const auto phases = extract_cost(blocks, {.ranks = 6, .on_node = 3});
  EXPECT_DOUBLE_EQ(busiest_of(phases, Work::product_f32), 7.0 / 5);
  EXPECT_DOUBLE_EQ(read_by(phases), 800); // the model's files, by two nodes
  // 4 pieces of 256 latents by 3 ranks.
  const TrainingSize step{.groups = 2, .steps = 10, .batch = 64, .latents = 1024, .active = 5, .width = 8};
  EXPECT_DOUBLE_EQ(busiest_of(training_cost(step, {.ranks = 6, .on_node = 6}), Work::weights), 2 * 3 / 4.0);
  // 10 pairings by 4 ranks.
  const CompareSize pairings{.matches = 300, .width_a = 20, .width_b = 30, .permutations = 10, .memory = 1e9};
  EXPECT_DOUBLE_EQ(busiest_of(compare_cost(pairings, {.ranks = 4, .on_node = 4}), Work::shuffled), 3 * 4 / 10.0);
}

TEST(Cost, NothingTakesNoTimeAndIsANumber) {
  const Layout layout{.ranks = 4, .on_node = 2};
  const Machine machine = default_machine(2);
  for (const auto& phases : {tokenize_cost({.piece = 100}, layout), extract_cost({.row_flops = 5, .width = 8}, layout),
                             training_cost({.latents = 64, .active = 4, .width = 8}, layout), encode_cost({.layers = 0}, layout),
                             correlate_cost({.features_a = 9, .features_b = 9, .active_a = 2, .active_b = 2, .memory = 1e6}, layout),
                             compare_cost({}, layout)}) {
    const double seconds = predict(phases, machine, layout).parts.total();
    EXPECT_TRUE(std::isfinite(seconds)) << phases.back().name;
    EXPECT_LT(seconds, 0.01) << phases.back().name;
  }
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
      TrainingSize size{.steps = 10,
                        .batch = 96,
                        .latents = 2048,
                        .active = 7,
                        .width = 24,
                        .scalars = static_cast<double>(architecture->scalars()),
                        .reproducible = reduction == sae::Reduction::reproducible};
      const int ranks = world().size();
      EXPECT_NEAR(training_bytes_a_step(size, ranks, ranks).of_rank(), exchange.bytes_a_step(96, 7), 1e-6);
      EXPECT_EQ(training_bytes_a_step(size, ranks, ranks).of_node, 0);
      const Layout layout{.ranks = ranks, .on_node = ranks};
      EXPECT_NEAR(traffic_of(training_cost(size, layout), layout).received, 10 * ranks * exchange.bytes_a_step(96, 7), 1e-3);
    }
}

TEST(Cost, SummedGradientsAreNoCodes) {
  TrainingSize size{.batch = 4096, .latents = 1024, .active = 16, .width = 64};
  const double codes = training_bytes_a_step(size, 4, 4).within;
  EXPECT_DOUBLE_EQ(codes, 4096 * (12 * 16 + 16) * 0.75); // three quarters of the rows lie with others
  size.reproducible = false;
  EXPECT_DOUBLE_EQ(training_bytes_a_step(size, 4, 4).within, 4 * 1024 * (2 * 64 + 1) * 0.75);
  // Two nodes of two ranks: weights come once a node, gradients to each of its ranks.
  EXPECT_DOUBLE_EQ(training_bytes_a_step(size, 4, 2).of_node, 4 * 1024 * (2 * 64 + 1) * (0.5 + 2 * 0.5));
}

TEST(Cost, RowsThatDoNotFitAreReadWhenTheirTurnComes) {
  TrainingSize size{.rows = 1000, .row_bytes = 16, .memory = 8000, .held_out = 100, .steps = 50, .batch = 64};
  EXPECT_DOUBLE_EQ(read_by(training_cost(size, {.ranks = 2, .on_node = 2})), 16000); // 8,000 bytes a rank
  EXPECT_DOUBLE_EQ(read_by(training_cost(size, {})), 16 * (50 * 64 + 100 + 1000.0)); // steps, held-out rows, the sample
}

/// Rows of `active` features each, none of which is dense.
io::CsrMatrix random_rows(Index rows, Index features, Index active, std::uint64_t seed) {
  io::CsrMatrix m{rows, features, {0}, {}, {}};
  const Philox random(seed, "test");
  for (Index r = 0; r < rows; ++r) {
    for (Index a = 0; a < active; ++a) {
      const Index wide = features / active;
      m.indices.push_back(
          static_cast<std::int32_t>(wide * a + static_cast<Index>(random.uniform(at(r * active + a)) * static_cast<double>(wide))));
      m.values.push_back(1.0F);
    }
    m.indptr.push_back(m.nnz());
  }
  return m;
}

TEST(Cost, EntriesOfAAreThoseThatTheRanksOfAGridHold) {
  constexpr Index rows = 500, features = 200, active = 4;
  const auto matrix = random_rows(rows, features, active, 1);
  const correlate::MatrixSource source(matrix);
  const int ranks = world().size();
  for (const int columns : {1, ranks}) {
    const correlate::ShareGrid grid{ranks / columns, columns};
    const correlate::Deal deal(source, grid.rows, correlate::dense_work_a);
    const auto share = correlate::load_postings(world(), grid, source, deal, 0, rows);
    const double held = comm::sum_of(world(), static_cast<double>(share.postings.size()));
    const CorrelateSize size{.rows = rows,
                             .features_a = features,
                             .features_b = features,
                             .active_a = active,
                             .active_b = active,
                             .memory = 1e9,
                             .columns = columns};
    const auto phases = correlate_cost(size, {.ranks = ranks, .on_node = ranks});
    EXPECT_DOUBLE_EQ(amount_of({phases[0]}, Work::entries), held) << columns;
    EXPECT_DOUBLE_EQ(amount_of(phases, Work::postings), held) << columns; // each meets a block of B's features
  }
}

TEST(Cost, TheGridIsThatOfARun) {
  CorrelateSize size{.rows = 1e6, .features_a = 16384, .features_b = 16384, .active_a = 100, .active_b = 100, .memory = 1e12};
  const Layout layout{.ranks = 64, .on_node = 4};
  const auto grid = correlate::fastest_grid(64, 4, 100, 100);
  ASSERT_GT(grid.columns, 1); // rows of B would go to 16 nodes
  EXPECT_DOUBLE_EQ(amount_of(correlate_cost(size, layout), Work::postings), 1e8 * grid.columns);
  size.columns = 1;
  EXPECT_DOUBLE_EQ(amount_of(correlate_cost(size, layout), Work::postings), 1e8);
}

TEST(Cost, AGpuTakesSmallerBlocks) {
  CorrelateSize size{.rows = 1e6, .features_a = 16384, .features_b = 16384, .active_a = 100, .active_b = 100, .memory = 1e12};
  size.on_gpu = true;
  EXPECT_DOUBLE_EQ(amount_of(correlate_cost(size, {}), Work::postings), 8e8); // 8 blocks of 2,048
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
  EXPECT_DOUBLE_EQ(amount_of(correlate_cost(size, {}), Work::entries), 2 * 3000.0 + 3 * 5000.0);
}

TEST(Cost, MeasuresThatAreNotWantedCostNothing) {
  CompareSize size{.matches = 3000,
                   .features_a = 400,
                   .features_b = 400,
                   .width_a = 200,
                   .width_b = 300,
                   .kept_a = 20,
                   .kept_b = 20,
                   .permutations = 100,
                   .memory = 1e9};
  const auto amount = [&](Work work) { return amount_of(compare_cost(size, {}), work); };
  EXPECT_DOUBLE_EQ(amount(Work::shuffled), 2 * 100 * 4.5e6); // ranks and values
  const double whole = amount(Work::product_f64);
  size.values = false;
  EXPECT_DOUBLE_EQ(amount(Work::shuffled), 100 * 4.5e6);
  size.memory = 16 * 9e6 - 1; // for no table of 8 bytes a pair in its half
  EXPECT_EQ(amount(Work::shuffled), 0);
  size.memory = 1e9;
  size.cross = size.procrustes = false; // 20 components a side are all that is permuted
  EXPECT_DOUBLE_EQ(whole - amount(Work::product_f64),
                   2 * 3000 * (200.0 * 180 + 300.0 * 280) + 100 * 2 * 3000 * (200.0 * 300 - 20 * 20) + 101 * 200.0 * 200 * 300);
  size.rdm = false;
  EXPECT_EQ(amount(Work::dissimilarities), 0);
  size.svcca = false;
  EXPECT_EQ(amount(Work::eigenvectors), 0);
}

} // namespace
} // namespace concord::cost
