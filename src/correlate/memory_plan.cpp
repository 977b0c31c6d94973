#include "concord/correlate/memory_plan.hpp"

#include "concord/correlate/null_size.hpp"

#include <algorithm>

namespace concord::correlate {

MemoryPlan correlate_memory(const CorrelateOptions& o, const CorrelateSize& size) {
  const double r = size.ranks;
  const double threads = size.threads;
  const auto best = static_cast<double>(o.best);
  const auto shifts = static_cast<double>(o.null_shifts);
  const double limit = o.memory_gib * 0x1p30;
  const double entries_a = size.rows * size.active_a;
  const double entries_b = size.rows * size.active_b;
  MemoryPlan plan("correlate");
  plan.each_rank("counts, sums and places of features", "40 (F_a + F_b)", 40 * (size.features_a + size.features_b));
  const auto features_a = static_cast<Index>(size.features_a);
  const auto features_b = static_cast<Index>(size.features_b);
  const bool sampled = shifts > 0 && samples_null(features_a, features_b, o.null_features, o.null_shifts);
  const double tables = (size.features_a / r + size.features_b * threads) * (32 * best + 8 * shifts + 64);
  plan.each_rank("best partners while they are found", "(F_a / R + F_b n) (32 k + 8 s + 64)", tables);
  const double postings = 8 * entries_a / r + 8 * size.features_a / r;
  const double rows = 6 * entries_b + 10 * size.rows;
  const double sharing = std::max(1, size.on_node);
  const double sample = sampled ? 8 * entries_b / r : 0; // at most: rare features are drawn in part, dense ones mostly all
  const double rows_a = sampled ? 6 * entries_a + 10 * size.rows : 0;
  const double room = std::max(0.0, limit - tables);
  // What does not fit comes in pieces.
  const double held = postings + sample + (rows + rows_a) / sharing;
  const double part = held > room ? room / held : 1;
  plan.each_rank("A's features as posting lists", "8 T L_a / R, in pieces beyond correlate.memory_gib", part * postings);
  plan.each_node("B's features as rows", "T (6 L_b + 10), in pieces beyond correlate.memory_gib", part * rows);
  if (sampled) {
    plan.each_rank("sample of B's features as posting lists", "8 T L_b / R, likewise", part * sample);
    plan.at_most();
    plan.each_node("A's features as rows, beside the sample", "T (6 L_a + 10), likewise", part * rows_a);
  }
  plan.begin_phase("loading");
  plan.each_rank("entries on their way", "4 x 12 x 2^18", 48 * std::min(std::max(entries_a, entries_b), 262144.0));
  plan.at_most();
  plan.begin_phase("sums");
  plan.each_rank("features and shifts in the order of their sums", "16 (1 + s) F_a / R", 16 * (1 + shifts) * size.features_a / r);
  plan.at_most();
  plan.each_rank("sums of a feature with all of B", "16 F_b n", 16 * size.features_b * threads);
  plan.begin_phase("result");
  plan.rank_0("result of a pair, as found, matched and packed", "3 (F_a + F_b) (20 k + 8 s + 40)",
              3 * (size.features_a + size.features_b) * (20 * best + 8 * shifts + 40));
  plan.at_most();
  return plan;
}

} // namespace concord::correlate
