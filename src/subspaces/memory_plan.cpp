#include "concord/subspaces/memory_plan.hpp"

#include "concord/extract/memory_plan.hpp"
#include "concord/subspaces/carried/carried.hpp"

#include "subspaces/carried/map_rows.hpp"
#include "subspaces/files/result_file.hpp"
#include <algorithm>

namespace concord::subspaces {
namespace {

constexpr double rows_a_span = 2;

bool asked(const SubspacesSettings& s, const char* name) {
  return std::find(s.further_bases.begin(), s.further_bases.end(), name) != s.further_bases.end();
}

/// What several phases count in.
struct Counts {
  Counts(const SubspacesSettings& s, const SubspacesSize& size)
      : c(size.concepts), spans(2 * size.phrases * static_cast<double>(s.phrase_occurrences)), k(static_cast<double>(s.k)),
        bases(static_cast<double>(s.effect_bases.size() + s.further_bases.size()) * c),
        removals(c * static_cast<double>(concepts::span_kinds) * halves * static_cast<double>(s.effect_occurrences)),
        rows(static_cast<double>(s.after + 1) * rows_a_span), members(static_cast<double>(s.max_members)) {}
  double c;
  double spans;
  double k;
  double bases;    ///< that are removed
  double removals; ///< spans at which they are
  double rows;     ///< that a removal changes
  double members;
};

void of_all_phases(const SubspacesSize& size, const Counts& n, MemoryPlan& plan) {
  plan.each_rank("where contexts and their documents lie", "32 C", 32 * size.contexts);
  plan.each_rank("spans", "48 s", 48 * n.spans);
  plan.at_most();
  constexpr double kept = 64.0 * (1 << 20);
  plan.each_rank("values of members on spans that are kept for pairs", "64 MiB", std::min(kept, n.spans * n.members * n.c * size.layers));
  plan.at_most();
}

void of_members(const SubspacesSettings& s, const SubspacesSize& size, const Counts& n, MemoryPlan& plan) {
  plan.begin_phase("occurrences");
  constexpr double words_of_concepts = 0.05; // of all tokens
  plan.each_rank("occurrences", "5 T / R", 100 * words_of_concepts * size.tokens / size.ranks);
  plan.at_most();
  plan.begin_phase("members");
  plan.each_rank("labels of spans, as they are and dealt anew, and the spans of a concept", "64 s", 64 * n.spans);
  plan.at_most();
  plan.each_rank("concepts of phrases, as they are and dealt anew", "(4 w + 128 c) (label_draws + 1)",
                 (4 * size.phrases + 128 * n.c) * static_cast<double>(s.label_draws + 1));
  plan.at_most();
  plan.each_rank("codes at spans, as they are read and feature by feature", "32 s L / R",
                 16 * rows_a_span * n.spans * size.active / size.ranks);
  plan.at_most();
  plan.each_rank("how many codes at spans each feature has, and where they go", "48 F", 48 * size.latents);
  plan.each_rank("how many features reach an AUC", "32016 c", 2 * 8 * 2001 * n.c);
  plan.each_rank("values of candidates on spans", "16 s m c / R", 16 * n.spans * n.members * n.c / size.ranks);
  plan.at_most();
}

void of_bases(const SubspacesSettings& s, const SubspacesSize& size, const Counts& n, MemoryPlan& plan) {
  plan.begin_phase("bases");
  plan.each_node("decoder", "4 F d", 4 * size.latents * size.d);
  plan.rank_0("SAE while it is loaded", "8 F d", 8 * size.latents * size.d);
  plan.each_rank("norms of spans' rows", "24 s", s.residual ? 24 * n.spans : 0);
  plan.at_most();
  plan.each_rank("means of phrases", "8 w d", s.residual ? 8 * size.phrases * size.d : 0);
  plan.each_rank("bases", "72 c k d", 8 * basis_kinds * n.c * n.k * size.d);
  if (asked(s, "lda") || asked(s, "leace"))
    plan.each_rank("covariance of phrases, its root and what is made of them", "48 d^2", 48 * size.d * size.d);
  if (asked(s, "pseudo")) {
    plan.each_rank("words that stand in for phrases: their means, their spans", "8 w d + 24 s", 8 * size.phrases * size.d + 24 * n.spans);
    plan.at_most();
  }
  if (size.model > 0) plan.each_rank("directions of words' first tokens", "8 w d", 8 * size.phrases * size.d);
  if (size.model > 0) plan.at_most();
}

/// @param rows changed at once, and how many these are in symbols
void of_model(const SubspacesSize& size, double rows, const std::string& symbols, MemoryPlan& plan) {
  plan.each_rank("the model, or a rank's shard of it, and a context's way through it", "v_c (parameters + 2 V d) + 4 T_c l (h + 2 g) e",
                 size.model);
  if (size.shards == 1) return;
  plan.each_rank("rows on their way between shards", "12 d (T_c + " + symbols + ")", 12 * size.d * (size.context + rows));
  plan.at_most();
}

void of_effects(const SubspacesSettings& s, const SubspacesSize& size, const Counts& n, MemoryPlan& plan) {
  plan.begin_phase("effects");
  of_model(size, n.bases * n.rows, "b a", plan);
  plan.each_rank("changed rows of a span", "16 b a d", 16 * n.bases * n.rows * size.d);
  plan.each_rank("bases in the model's type", "4 b k d", 4 * n.bases * n.k * size.d);
  plan.each_rank("attention of changed rows", "12 b h a T_c", 12 * n.bases * size.heads * n.rows * size.context);
  plan.each_rank("predictions of a piece of rows", "16 V 256 + 4 V a", size.vocabulary * (16 * 256 + 4 * n.rows));
  plan.rank_0("effects on spans", "72 b u", 72 * n.bases * n.removals);
  plan.at_most();
  if (s.equal_energy) {
    constexpr double copies = 3; // rows, coefficients and a set's basis beside them
    plan.each_rank("rows of the spans at which sets of words are held against", "48 d u", 8 * copies * rows_a_span * n.removals * size.d);
    plan.at_most();
  }
  if (s.steering.empty()) return;
  plan.rank_0("what steering writes, on spans", "16 c^2 u", 16 * n.c * n.c * n.removals);
  plan.at_most();
  plan.each_rank("projections on directions at spans", "32 s", 32 * n.spans);
  plan.at_most();
  plan.each_rank("what steering writes, on this rank's spans", "16 c^2 u / R", 16 * n.c * n.c * n.removals / size.ranks);
  plan.at_most();
}

void of_carrying(const SubspacesSize& size, const Counts& n, MemoryPlan& plan) {
  const double carried = carried_kinds * n.c;
  plan.begin_phase("carried");
  plan.each_rank("which part of the map documents are of", "33 C", 33 * size.contexts);
  plan.at_most();
  of_model(size, carried * n.rows, "9 c a", plan);
  plan.each_rank("products of rows of two models, and their maps", "144 d^2", 144 * size.d * size.d);
  plan.each_rank("a block of rows", "48 d (1024 + T_c)", 48 * size.d * (map_block_rows + size.context));
  plan.at_most();
  plan.each_rank("changed rows of a span, carried", "144 c a d", 16 * carried * n.rows * size.d);
  plan.each_rank("bases, own and carried, and in the model's type", "252 c k d",
                 (8 * 2 * basis_kinds + 8 * carried_kinds + 4 * carried_kinds) * n.c * n.k * size.d);
  plan.at_most();
  plan.each_rank("attention of changed rows, carried", "108 c h a T_c", 12 * carried * size.heads * n.rows * size.context);
  plan.rank_0("carried effects on spans", "648 c u", 72 * carried * n.removals);
  plan.at_most();
}

void of_claim(const SubspacesSize& size, const Counts& n, MemoryPlan& plan) {
  plan.begin_phase("claim");
  plan.each_rank("matrices of effects", "2304 c^2 l", 4 * 8.0 * span_sets * basis_kinds * halves * n.c * n.c * size.layers);
  plan.each_rank("effects on single spans", "36 c u l", 4 * basis_kinds * n.c * n.removals * size.layers);
  plan.at_most();
}

void of_pairs(const SubspacesSize& size, const Counts& n, MemoryPlan& plan) {
  const double members = n.members * n.members * n.c * n.c;
  plan.begin_phase("pairs");
  plan.each_rank("values of members on spans, both models", "s m c", n.spans * n.members * n.c);
  plan.at_most();
  plan.each_rank("correlations of members", "8 m^2 c^2", 8 * members);
  plan.at_most();
  plan.each_rank("inner products of members and of phrases", "32 m^2 c^2 + 32 w^2", 32 * members + 32 * size.phrases * size.phrases);
  plan.at_most();
}

} // namespace

MemoryPlan subspaces_memory(const SubspacesSettings& s, const SubspacesSize& size) {
  MemoryPlan plan("subspaces");
  const Counts n(s, size);
  of_all_phases(size, n, plan);
  of_members(s, size, n, plan);
  of_bases(s, size, n, plan);
  if (size.model > 0) {
    of_effects(s, size, n, plan);
    if (s.carry) of_carrying(size, n, plan);
    of_claim(size, n, plan);
  }
  of_pairs(size, n, plan);
  return plan;
}

model::LayerRange blocks_of_shard(const model::ModelConfig& config, int shards, int shard, Index longest) {
  extract::ExtractOptions whole;
  whole.loss = true; // all blocks and the head
  whole.layer_shards = shards;
  const auto cuts = extract::shard_cuts(config, whole, longest);
  const auto s = static_cast<std::size_t>(shard);
  return {static_cast<int>(cuts[s]), static_cast<int>(cuts[s + 1]), shard + 1 == shards};
}

double effects_gpu_bytes(const model::ModelConfig& c, model::LayerRange blocks, Dtype compute, Index longest, Index rows) {
  const auto element = static_cast<double>(size_of(compute));
  const double kept = element * static_cast<double>(longest * (blocks.end - blocks.first) * c.qkv_width());
  const double copies = element * 3.0 * static_cast<double>(rows * c.hidden);
  constexpr double pieces = 4; // of log probabilities in f32: changed, unchanged, their product and what it is made of
  const double probabilities =
      blocks.head ? 4 * pieces * static_cast<double>(std::min(rows, model::loss_rows(c.vocab, true)) * c.vocab) : 0;
  return model::weight_bytes(c, blocks, compute, true) + kept + copies + probabilities +
         model::gpu_working_bytes(c, blocks, compute, std::max(rows, longest), 1 + rows / longest, longest);
}

} // namespace concord::subspaces
