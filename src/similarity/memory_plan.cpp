#include "concord/similarity/memory_plan.hpp"

#include "concord/similarity/rsa/rsa.hpp"

#include <algorithm>

namespace concord::similarity {

MemoryPlan compare_memory(const SpaceOptions& o, const CompareSize& size) {
  const double m = size.matches;
  const double a = std::min(size.d_a, m);
  const double b = std::min(size.d_b, m);
  const double r = size.ranks;
  const double limit = o.memory_gib * 0x1p30;
  const auto wants = [&](std::initializer_list<const char*> names) {
    return std::any_of(names.begin(), names.end(),
                       [&](const char* name) { return std::find(o.measures.begin(), o.measures.end(), name) != o.measures.end(); });
  };
  MemoryPlan plan("compare");
  const double decoders = 4 * (size.features_a * size.d_a + size.features_b * size.d_b);
  plan.each_node("decoders of a group's pair", "4 (F_a d_a + F_b d_b)", decoders);
  plan.begin_phase("loading");
  plan.rank_0("SAE while it is loaded", "8 F d", 8 * std::max(size.features_a * size.d_a, size.features_b * size.d_b));
  if (wants({"svcca", "svcca_squared", "svcca_rank1", "pwcca", "cka", "cka_debiased", "procrustes", "principal_angles"})) {
    plan.begin_phase("factors");
    plan.each_rank("rows of the rank, centred, and their basis", "16 M (d_a + d_b) / R", 16 * m * (a + b) / r);
    plan.each_rank("Gram matrices, eigenvectors and their work", "32 (d_a^2 + d_b^2)", 32 * (a * a + b * b));
    plan.begin_phase("permutations");
    plan.each_rank("rows of the rank's bases", "8 M (d_a + d_b) / R", 8 * m * (a + b) / r);
    if (size.ranks > 1) plan.each_node("bases whole, of each group", "8 M (d_a + d_b)", 8 * m * (a + b));
    plan.each_rank("rows of Y in another order", "8 M d_b, 2^28 at most", std::min(8 * m * b, 0x1p28));
    plan.each_rank("products and their singular values", "32 d_a d_b", 32 * a * b);
  }
  if (wants({"rsa", "rsa_pearson", "rsa_rho_a", "rsa_kendall", "mutual_knn"})) {
    plan.begin_phase("rsa");
    const double tiles = 6 * m * m / 2 / r;
    plan.each_rank("keys of the rank's tiles", "3 M^2 / R, if that is at most half of compare.memory_gib", tiles <= limit / 2 ? tiles : 0);
    const double table = 4 * m * m;
    const double tables = 4 * table <= limit / 2 ? 4 : 2 * table <= limit / 2 ? 2 : 0;
    plan.each_rank("tables for permutations", "16 M^2, 8 M^2 or 0, as they fit half of compare.memory_gib",
                   o.permutations > 0 ? tables * table : 0);
    plan.each_rank("histograms and ranks of keys", "16 (n + 1) 2^20, up to 2^24 where keys would tie", 16 * (size.threads + 1) * 0x1p20);
    if (m <= static_cast<double>(whole_rows)) {
      plan.each_rank("edges of keys, up to 1,024 matches", "8 M^2", 8 * m * m);
      plan.rank_0("dissimilarities that they lie between", "16 M^2", 16 * m * m);
    }
    plan.each_rank("neighbours", "16 M k (n + 1)", 16 * m * static_cast<double>(o.neighbours) * (size.threads + 1));
  }
  return plan;
}

} // namespace concord::similarity
