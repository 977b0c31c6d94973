#include "concord/features/memory_plan.hpp"

#include "concord/sae/memory_plan.hpp"

#include <algorithm>
#include <bit>

namespace concord::features {

MemoryPlan encode_memory(const EncodeOptions& o, const EncodeSize& size) {
  const double f = size.latents;
  const double d = size.d;
  const double l = size.active;
  const auto top = static_cast<double>(o.top);
  const auto piece = std::min(size.rows, static_cast<double>(rows_a_piece));
  const double pieces = std::max(size.blocks, size.rows / static_cast<double>(rows_a_piece));
  const double window = piece * std::clamp(pieces / 65536, 1.0, 64.0);
  const double code = 8 * (l + 1); // entries and end of a row
  MemoryPlan plan("encode");
  for (int layer = 0; layer < size.layers; ++layer) sae::add_sae_on_nodes(plan, f, d);
  plan.each_rank("first rows of pieces", "8 P", 8 * (pieces + size.blocks));

  sae::add_search_rows(plan, sae::Search::largest, size.threads, piece, d, l);

  plan.begin_phase("loading");
  plan.rank_0("SAE while it is loaded", "8 F d", 8 * f * d);

  plan.begin_phase("codes");
  plan.each_rank("rows of a piece: as stored, as f32, less b_dec", "2048 (8 + v) d", piece * (8 + size.value) * d);
  plan.each_rank("codes of a piece, as found", "2048 x 16 L", piece * 16 * l);
  plan.each_rank("codes of a window, and as they go to the spool", "16 w (L + 1)", 2 * window * code);

  const double entries = std::min(size.rows * l / size.ranks, 4194304.0) + window * l;
  plan.begin_phase("file");
  plan.each_rank("codes on their way, and of a window", "8 (2^22 + w L) + 8 rows",
                 8 * entries * (1 + 1 / std::max(1.0, l)) + 2 * window * code);
  plan.each_rank("counts, largest values, sums of features", "16 F + 44 F", 60 * f);
  const double places = std::bit_ceil(static_cast<unsigned>(o.top));
  const double filled = std::min(f * top, size.rows * l);
  plan.each_rank("strongest rows of features", "(24 + 16 t) F", 24 * f + std::min(16 * places * f, 32 * filled));
  plan.at_most();
  plan.each_rank("the same on their way between ranks and to the file", "48 t F", 48 * filled);
  plan.at_most();
  return plan;
}

} // namespace concord::features
