#include "concord/cost/stages.hpp"

#include "correlate/device/device_views.hpp"
#include "correlate/pair_correlator.hpp"
#include "correlate/sums/share_grid.hpp"
#include <algorithm>
#include <cmath>

namespace concord::cost {

namespace {

/// The busiest rank's share of `pieces` that are done whole, over an even share.
double busiest_of(double pieces, double ranks) {
  return pieces > 0 ? std::ceil(pieces / ranks) * ranks / pieces : 1;
}

/// The same where `rows` rows fall to ranks at random: the largest of so many binomial numbers, by its normal approximation.
double busiest_by_chance(double rows, double ranks) {
  if (ranks <= 1) return 1;
  const double mean = rows / ranks;
  return std::min(ranks, 1 + std::sqrt(2 * std::log(ranks) * mean * (1 - 1 / ranks)) / mean);
}

/// Ranks of a group that are on one node.
double here(double ranks, const Layout& layout) {
  return std::min(ranks, static_cast<double>(layout.on_node));
}

} // namespace

std::vector<Phase> tokenize_cost(const TokenizeSize& size, const Layout& layout) {
  Phase p{.name = "text", .ranks = static_cast<double>(layout.ranks)};
  p.shared = {{Work::text, size.text, 0, busiest_of(std::ceil(size.text / size.piece), layout.ranks)}};
  p.calls = 50; // counted at the demo
  p.read = size.text;
  p.written = size.written;
  return {p};
}

std::vector<Phase> extract_cost(const ExtractSize& size, const Layout& layout) {
  const Work product = size.bf16 ? Work::product_bf16 : Work::product_f32;
  const double blocks = size.tokens > 0 ? std::ceil(size.tokens / size.batch_rows) : 0;
  const double replicas = std::max(1.0, std::floor(static_cast<double>(layout.ranks) / size.shards));
  const double bytes = size.bf16 ? 2 : 4;
  Phase load{.name = "weights"};
  load.read = size.model_bytes * layout.nodes(); // each node reads the files once into its page cache
  Phase run{.name = "blocks", .units = blocks, .groups = replicas, .ranks = static_cast<double>(size.shards)};
  run.on_gpu = size.on_gpu;
  // The first block of a replica passes all shards before the last of them begins.
  const double of_replica = std::max(1.0, std::ceil(blocks / replicas));
  run.shared = {{product, size.batch_rows * size.row_flops, size.width, (of_replica + size.shards - 1) / of_replica}};
  run.messages = size.shards > 1 ? 1 : 0;
  const double stream = size.batch_rows * size.width * bytes;
  (size.shards > layout.on_node ? run.bytes_between : run.bytes_within) = size.shards > 1 ? stream : 0;
  run.written = size.written;
  run.files_beside = true;
  return {load, run};
}

StepBytes training_bytes_a_step(const TrainingSize& size, double ranks, double on_node) {
  const double here = std::min(on_node, ranks);
  const double near = (here - 1) / ranks, elsewhere = 1 - here / ranks;
  const double gradients = 4 * size.latents * (2 * size.width + size.scalars);
  const double codes = size.batch * ((12 + 4 * (size.scalars - 1)) * size.active + 16);
  const double of_ranks = size.reproducible ? codes : gradients;                           // that each rank gets for itself
  const double shared = gradients + (size.reproducible ? 8 * size.batch * size.width : 0); // new weights; rows and errors: once a node
  return {of_ranks * near, (of_ranks + shared) * elsewhere, (here * of_ranks + shared) * elsewhere};
}

std::vector<Phase> training_cost(const TrainingSize& size, const Layout& layout) {
  constexpr double latents_a_piece = 256, calls_a_step = 28; // the calls counted at the demo
  constexpr double sample = 32768, iterations = 30;          // of the geometric median that a training begins with
  const double ranks = std::max(1.0, std::floor(layout.ranks / size.groups));
  const double f = size.latents, d = size.width, b = size.batch, k = size.active;
  const double busy_rows = busiest_by_chance(b, ranks);
  const double busy_latents = busiest_of(std::ceil(f / latents_a_piece), ranks);
  Phase steps{.name = "steps", .units = size.trainings * size.variants, .groups = size.groups, .ranks = ranks};
  steps.on_gpu = size.on_gpu;
  steps.shared = {{Work::screen_int8, size.steps * b * f * d, d, busy_rows},
                  {Work::rows, size.steps * b * k * d / 2, 0, busy_rows},    // codes and errors, by row
                  {Work::rows, size.steps * b * k * d / 2, 0, busy_latents}, // gradients, by latent
                  {Work::weights, size.steps * f * d, 0, busy_latents}};
  steps.shared.push_back({Work::codes_of_step, size.steps * b * k, 0, busy_rows});
  // With "reproducible" each rank adds up all rows of the batch and passes all its codes by, with "fast" its own.
  constexpr double passing_by = 0.05; // of what a code takes in all; seen at two ranks
  auto& to = size.reproducible ? steps.alone : steps.shared;
  to.push_back({Work::batch_rows, size.steps * b * d});
  if (size.reproducible && ranks > 1) to.push_back({Work::codes_of_step, passing_by * size.steps * b * k});
  constexpr double bytes_a_weight = 70; // both matrices, gradients and moments are read and written, and rounded
  steps.memory_bytes = size.steps * bytes_a_weight * f * d;
  steps.calls = calls_a_step * size.steps;
  const StepBytes bytes = training_bytes_a_step(size, ranks, here(ranks, layout));
  steps.bytes_within = size.steps * bytes.within;
  steps.bytes_between = size.steps * bytes.of_node;
  Phase ends{.name = "sample and held-out rows", .units = size.trainings, .groups = size.groups, .ranks = ranks};
  ends.shared = {{Work::batch_rows, 2 * iterations * std::min(sample, size.rows) * d},
                 {Work::screen_bf16, size.variants * size.held_out * f * d, d},
                 {Work::rows, size.variants * size.held_out * k * d}};
  const bool fits = size.rows * size.row_bytes / ranks <= size.memory;
  const double once = fits ? size.rows : size.held_out + std::min(sample, size.rows);
  ends.read = size.trainings * size.row_bytes * once;
  steps.read = fits ? 0 : size.trainings * size.row_bytes * size.steps * b; // when their turn comes
  steps.files_beside = true;
  ends.written = size.trainings * size.variants * 8 * f * d;
  return {steps, ends};
}

std::vector<Phase> encode_cost(const EncodeSize& size, const Layout& layout) {
  constexpr double rows_a_piece = 2048, most_pieces = 65536, calls_a_layer = 200; // calls counted at the demo
  constexpr double codes_a_round = 4194304, calls_a_round = 20;                   // in which ranks write codes together
  const double pieces = std::ceil(size.rows / rows_a_piece);
  const double windows = std::ceil(pieces / std::max(1.0, std::ceil(pieces / most_pieces)));
  const double busy = busiest_of(windows, layout.ranks);
  const double entries = size.rows * size.active;
  const auto ranks = static_cast<double>(layout.ranks);
  Phase p{.name = "layers", .units = size.layers, .ranks = ranks};
  p.shared = {{Work::screen_bf16, size.rows * size.latents * size.width, size.width, busy}, {Work::codes, entries, 0, busy}};
  p.alone = {{Work::codes, size.latents * size.top}}; // lists of strongest rows, on each rank
  constexpr double rows_at_once = 96;                 // for which all latents pass through memory
  p.memory_bytes = size.rows / rows_at_once * 2 * size.latents * size.width + 8 * entries;
  p.calls = calls_a_layer + 2 * calls_a_round * std::ceil(entries / ranks / codes_a_round);
  const double record = 24, on_node = here(ranks, layout);
  p.bytes_within = record * size.latents * size.top * on_node / ranks;
  p.bytes_between = record * size.latents * size.top * (1 - on_node / ranks) * on_node;
  p.read = size.layers * (size.rows * size.row_bytes + 8 * size.latents * size.width + 8 * entries);
  p.written = size.written + size.layers * 8 * entries; // codes lie in a spool first
  return {p};
}

namespace {

/// How often a group loads the layers of each side.
struct Loads {
  double a = 0, b = 0;
};

Loads loads_of(const CorrelateSize& s, double ranks, double on_node, double rounds) {
  const double entries_a = s.rows * s.active_a, entries_b = s.rows * s.active_b;
  const double room = s.memory - (s.features_a / ranks + s.features_b) * (32 * s.best + 8 * s.shifts + 64);
  const double a = 8 * entries_a / ranks, b = (6 * entries_b + 10 * s.rows) / on_node;
  if (a + b > room) return {rounds, rounds * (1 + s.shifts)}; // in pieces
  return {std::min(rounds, s.layers_a), a + s.layers_b * b > room ? rounds : std::min(rounds, s.layers_b)};
}

Phase loading(const char* name, double entries, double rows, double copies, double loads, double ranks, double groups,
              const Layout& layout) {
  constexpr double entries_a_piece = 262144, bytes_an_item = 12;
  const double on_node = here(ranks, layout), elsewhere = 1 - on_node / ranks;
  Phase p{.name = name, .units = loads * groups, .groups = groups, .ranks = ranks};
  p.shared = {{Work::entries, entries * copies}};
  const double pieces = std::max(1.0, std::ceil(entries / (entries_a_piece * ranks)));
  p.calls = 4 * pieces;
  p.messages = 2 * pieces * (ranks - 1);
  p.bytes_within = bytes_an_item * entries * copies / ranks * on_node / ranks;
  p.bytes_between = bytes_an_item * entries * copies / ranks * on_node * elsewhere;
  p.read = p.units * (8 * entries + 8 * rows);
  return p;
}

/// Pairs of features whose sums are looked at in a pass. Where few of a block meet, those alone are listed, each of which costs as much as
/// five in their order (src/correlate/sums/sweep.cpp).
double looks_a_pass(const CorrelateSize& s) {
  constexpr double of_listed = 5;
  const double all = s.features_a * s.features_b;
  return std::min(all, of_listed * s.rows * s.active_a * s.active_b);
}

correlate::ShareGrid grid_of(const CorrelateSize& s, double ranks, const Layout& layout) {
  const int of_group = static_cast<int>(ranks);
  if (s.columns > 0 && of_group % s.columns == 0) return {of_group / s.columns, s.columns};
  return correlate::fastest_grid(of_group, std::min(of_group, layout.on_node), s.active_a, s.active_b);
}

} // namespace

std::vector<Phase> correlate_cost(const CorrelateSize& s, const Layout& layout) {
  constexpr double calls_a_pair = 70; // counted at the demo
  const double ranks = std::max(1.0, std::floor(static_cast<double>(layout.ranks) / s.groups));
  const auto grid = grid_of(s, ranks, layout);
  const double pairs = s.layers_a * s.layers_b;
  const double on_node = here(ranks, layout);
  const Loads loads = loads_of(s, ranks, on_node, std::ceil(pairs / s.groups));
  const double entries_a = s.rows * s.active_a, entries_b = s.rows * s.active_b;
  const auto usual = static_cast<double>(correlate::PearsonSettings{}.block);
  const double block = s.on_gpu ? std::min(usual, static_cast<double>(correlate::device::most_of_block)) : usual;
  const double blocks = grid.columns * std::ceil(s.features_b / grid.columns / block); // each of A's entries meets all of them
  Phase sums{.name = "sums", .units = pairs, .groups = static_cast<double>(s.groups), .ranks = ranks};
  sums.on_gpu = s.on_gpu;
  sums.shared = {{Work::postings, s.passes * entries_a * blocks},
                 {Work::products, s.passes * entries_a * s.active_b},
                 {Work::looks, s.passes * looks_a_pass(s)}};
  sums.memory_bytes = 6 * s.passes * entries_a * s.active_b; // a value and a place of B's row
  sums.calls = calls_a_pair;
  Phase matching{.name = "matching", .units = pairs, .groups = static_cast<double>(s.groups), .ranks = ranks};
  matching.alone = {{Work::matches, s.features_a + s.features_b}};
  matching.written = s.written;
  const double sharing = std::min(on_node, static_cast<double>(grid.rows)); // of a column: B's rows lie once a node
  return {loading("loading A", entries_a, s.rows, grid.columns, loads.a, ranks, s.groups, layout),
          loading("loading B", entries_b, s.rows, std::ceil(grid.rows / sharing), loads.b, ranks, s.groups, layout), sums, matching};
}

namespace {

/// n^3 of the singular values of a matrix, as eigenvalues of its smaller Gram matrix; small ones are taken from the matrix itself, which
/// costs three times as much.
void add_values(std::vector<Amount>& to, double rows, double cols, double times, double busiest) {
  const double small = std::min(rows, cols), large = std::max(rows, cols);
  if (small <= 0) return;
  constexpr double taken_directly = 128;
  const bool direct = small <= taken_directly;
  to.push_back({Work::eigenvalues, times * (direct ? 3 : 1) * small * small * small, small, busiest});
  if (!direct) to.push_back({Work::product_f64, times * small * small * large, small, busiest});
}

/// Components of a side that products of the two sides have.
double carried(const CompareSize& s, double width, double kept) {
  return s.cross ? width : kept;
}

/// Singular values for the scores of one pairing. `times` of it, by ranks of which the busiest does so much more.
void add_scores(const CompareSize& s, double times, double busiest, std::vector<Amount>& to) {
  if (s.svcca) add_values(to, s.kept_a, s.kept_b, times, busiest);
  if (s.procrustes) add_values(to, s.width_a, s.width_b, times, busiest);
}

/// What both spaces take once: factors, the score of one pairing, RDMs.
void add_comparison(const CompareSize& s, double times, double busiest, std::vector<Amount>& to) {
  const double m = s.matches;
  const double narrow = std::min(s.width_a, s.width_b);
  if (s.svcca || s.cross) {
    for (const double d : {s.width_a, s.width_b}) to.push_back({Work::product_f64, times * m * d * d, d, busiest});
    to.push_back({Work::product_f64, times * 2 * m * s.width_a * s.width_b, narrow, busiest});
    add_scores(s, times, busiest, to);
  }
  if (!s.rdm) return;
  const double pairs = m * m / 2;
  to.push_back({Work::product_f64, times * 2 * pairs * (s.width_a + s.width_b), narrow, busiest});
  to.push_back({Work::dissimilarities, times * pairs, pairs, busiest}); // each RDM has a histogram of one size
}

/// Tables of RDMs that permutations go through: those of values take twice as many bytes beside those of ranks.
double permuted_tables(const CompareSize& s) {
  const double entries = s.matches * s.matches, room = s.memory / 2;
  return (s.ranks && 8 * entries <= room ? 1 : 0) + (s.values && 16 * entries <= room ? 1 : 0);
}

void add_permutations(const CompareSize& s, double ranks, Phase& p) {
  const double m = s.matches, busiest = busiest_of(s.permutations, ranks);
  const double a = carried(s, s.width_a, s.kept_a), b = carried(s, s.width_b, s.kept_b);
  if (s.svcca || s.cross) {
    p.shared.push_back({Work::product_f64, 2 * m * s.width_a * a, std::min(s.width_a, a)}); // bases are formed
    p.shared.push_back({Work::product_f64, 2 * m * s.width_b * b, std::min(s.width_b, b)});
    p.shared.push_back({Work::product_f64, s.permutations * 2 * m * a * b, std::min(a, b), busiest});
    add_scores(s, s.permutations, busiest, p.shared);
  }
  const double tables = permuted_tables(s);
  if (tables > 0) p.shared.push_back({Work::shuffled, tables * s.permutations * m * m / 2, 0, busiest});
  if (s.kendall > 0 && 8 * m * m <= s.memory / 2) p.shared.push_back({Work::kendall, s.permutations * s.kendall, 0, busiest});
  p.memory_bytes += tables * s.permutations * m * m / 2 * 8;
}

} // namespace

std::vector<Phase> compare_cost(const CompareSize& s, const Layout& layout) {
  constexpr double calls_a_pair = 420, decoders_kept = 1e9;
  const double ranks = std::max(1.0, std::floor(static_cast<double>(layout.ranks) / s.groups));
  const double m = s.matches, pairs = s.layers_a * s.layers_b;
  const auto cube = [](double d) { return d * d * d; };
  Phase p{.name = "pairs", .units = pairs, .groups = static_cast<double>(s.groups), .ranks = ranks};
  add_comparison(s, 1, 1, p.shared);
  const bool factors = s.svcca || s.cross, two = ranks > 1; // sides side by side
  for (const double d : two ? std::vector<double>{std::max(s.width_a, s.width_b)} : std::vector<double>{s.width_a, s.width_b})
    if (factors) p.alone.push_back({Work::eigenvectors, cube(d), d});
  if (s.permutations > 0) add_permutations(s, ranks, p);
  if (s.subsets > 0) {
    const double busiest = busiest_of(s.subsets, ranks);
    add_comparison(s, s.subsets, busiest, p.shared);
    for (const double d : {s.width_a, s.width_b})
      if (factors) p.shared.push_back({Work::eigenvectors, s.subsets * cube(d), d, busiest});
  }
  p.calls = calls_a_pair;
  const double on_node = here(ranks, layout);
  p.bytes_within = 8 * (s.width_a * s.width_a + s.width_b * s.width_b + s.width_a * s.width_b);
  p.bytes_between = ranks > on_node ? 8 * (m * (s.width_a + s.width_b) + p.bytes_within / 8) : 0;
  const double a = 8 * s.features_a * s.width_a, b = 8 * s.features_b * s.width_b;
  const bool kept = s.layers_b * b / 2 <= decoders_kept;
  p.read = s.layers_a * a + (kept ? s.layers_b : pairs) * b;
  p.written = s.written;
  return {p};
}

} // namespace concord::cost
