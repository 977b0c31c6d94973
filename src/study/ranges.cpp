#include "study/ranges.hpp"

#include <map>

namespace concord::study {
namespace {

using settings::largest_index;
using settings::largest_int;
using settings::positive;
using settings::within;

Allowed one_of(std::vector<std::string> words) {
  return {0, 0, false, false, std::move(words)};
}

const std::map<std::string, Allowed>& table() {
  static const std::map<std::string, Allowed> all{
      {"study.seed", within(0, largest_index)},
      {"corpus.bos_id", within(0, largest_int)},
      {"corpus.documents", one_of({"blank-line", "file"})},
      {"corpus.context", within(2, largest_int)},
      {"corpus.max_tokens", within(0, largest_index)},
      {"extract.dtype", one_of({"f32", "f16", "bf16"})},
      {"extract.compute", one_of({"f32", "bf16"})},
      {"extract.batch", within(1, largest_int)},
      {"extract.device", one_of({"auto", "cpu", "cuda"})},
      {"extract.layer_shards", within(1, largest_int)},
      {"extract.memory_gib", settings::at_least(0)},
      {"extract.compress", within(0, 9)},
      {"extract.commit_seconds", settings::at_least(0)},
      {"sae.kind", one_of({"topk", "batch-topk", "matryoshka", "relu", "gated", "jumprelu"})},
      {"sae.latents", within(1, largest_int)},
      {"sae.k", within(1, largest_int)},
      {"sae.prefixes", within(1, 30)},
      {"sae.sparsity", settings::at_least(0)},
      {"sae.sparsity_warmup", within(0, 1)},
      {"sae.penalty", one_of({"step", "tanh"})},
      {"sae.bandwidth", settings::at_least(0)},
      {"sae.threshold", settings::at_least(0)},
      {"sae.normalise", one_of({"sqrt-d", "unit-square", "none"})},
      {"sae.groups", within(1, largest_int)},
      {"sae.recovered_contexts", within(0, largest_index)},
      {"sae.steps", within(0, largest_index)},
      {"sae.rows", within(1, largest_index)},
      {"sae.batch", within(1, largest_int)},
      {"sae.learning_rate", settings::at_least(0)},
      {"sae.warmup_steps", within(0, largest_index)},
      {"sae.decay_fraction", within(0, 1)},
      {"sae.clip", positive()},
      {"sae.aux_weight", settings::at_least(0)},
      {"sae.aux_k", within(0, largest_int)},
      {"sae.dead_after", within(1, largest_index)},
      {"sae.held_out", {0, 0.9, false, true, {}}},
      {"sae.max_norm", settings::at_least(0)},
      {"sae.reduction", one_of({"reproducible", "fast"})},
      {"sae.device", one_of({"cpu", "cuda", "torch"})},
      {"sae.gpu_exchange", one_of({"auto", "host", "nccl"})},
      {"sae.order", one_of({"global", "buffer"})},
      {"sae.buffer_rows", within(1, largest_index)},
      {"sae.memory_gib", settings::at_least(0)},
      {"sae.checkpoint_seconds", settings::at_least(0)},
      {"encode.top", within(1, largest_int)},
      {"encode.max_norm", settings::at_least(0)},
      {"correlate.best", within(1, largest_int)},
      {"correlate.pairing", one_of({"mutual", "greedy", "optimal", "many-to-one", "paper"})},
      {"correlate.min_r", within(-1, 1)},
      {"correlate.max_q", positive(1)},
      {"correlate.min_firings", within(0, largest_index)},
      {"correlate.null_shifts", within(0, largest_int)},
      {"correlate.level", {0, 1, true, true, {}}},
      {"correlate.groups", within(0, largest_int)},
      {"correlate.memory_gib", positive()},
      {"correlate.device", one_of({"cpu", "cuda", "emulated"})},
      {"correlate.gpu_memory_gib", settings::at_least(0)},
      {"compare.measures", one_of({"svcca", "svcca_squared", "svcca_rank1", "pwcca", "rsa", "rsa_pearson", "rsa_rho_a", "rsa_kendall",
                                   "cka", "cka_debiased", "procrustes", "mutual_knn", "principal_angles"})},
      {"compare.svcca_variance", positive(1)},
      {"compare.svcca_k", within(0, largest_int)},
      {"compare.route", one_of({"auto", "gram", "qr"})},
      {"compare.rdm", one_of({"correlation", "cosine", "euclidean"})},
      {"compare.neighbours", within(1, largest_int)},
      {"compare.kendall_samples", within(2, largest_index)},
      {"compare.permutations", within(0, largest_int)},
      {"compare.stratified_permutations", within(0, largest_int)},
      {"compare.subsets", within(0, largest_int)},
      {"compare.level", {0, 1, true, true, {}}},
      {"compare.groups", within(0, largest_int)},
      {"compare.memory_gib", positive()},
      {"compare.min_matches", within(4, largest_index)},
      {"report.top_matches", within(0, largest_int)},
  };
  return all;
}

} // namespace

const Allowed* allowed(const std::string& key) {
  const auto found = table().find(key);
  if (found != table().end()) return &found->second;
  for (const auto& known : keys())
    if (known.name == key && !known.allowed.anything()) return &known.allowed;
  return nullptr;
}

void check_value(const std::string& key, const Value& value, const std::string& where) {
  const Allowed* range = allowed(key);
  settings::check(key, value, range == nullptr ? settings::anything() : *range, where);
}

} // namespace concord::study
