#include "study/ranges.hpp"

#include "concord/core/error.hpp"
#include "concord/core/text.hpp"

#include <algorithm>
#include <limits>

namespace concord::study {
namespace {

constexpr double most_int = std::numeric_limits<std::int32_t>::max();
constexpr double most_index = 9007199254740992.0; // 2^53: exact as a floating-point number, too
constexpr double any = std::numeric_limits<double>::max();

Allowed within(double low, double high) {
  return {low, high, false, false, {}};
}
Allowed positive(double high) {
  return {0, high, true, false, {}};
}
Allowed one_of(std::vector<std::string> words) {
  return {0, 0, false, false, std::move(words)};
}

const std::map<std::string, Allowed>& table() {
  static const std::map<std::string, Allowed> all{
      {"study.seed", within(0, most_index)},
      {"corpus.bos_id", within(0, most_int)},
      {"corpus.documents", one_of({"blank-line", "file"})},
      {"corpus.context", within(2, most_int)},
      {"corpus.max_tokens", within(0, most_index)},
      {"extract.dtype", one_of({"f32", "f16", "bf16"})},
      {"extract.compute", one_of({"f32", "bf16"})},
      {"extract.batch", within(1, most_int)},
      {"extract.device", one_of({"auto", "cpu", "cuda"})},
      {"extract.layer_shards", within(1, most_int)},
      {"extract.memory_gib", within(0, any)},
      {"extract.compress", within(0, 9)},
      {"extract.commit_seconds", within(0, any)},
      {"sae.kind", one_of({"topk", "batch-topk", "matryoshka", "relu", "gated", "jumprelu"})},
      {"sae.latents", within(1, most_int)},
      {"sae.k", within(1, most_int)},
      {"sae.prefixes", within(1, 30)},
      {"sae.sparsity", within(0, any)},
      {"sae.sparsity_warmup", within(0, 1)},
      {"sae.penalty", one_of({"step", "tanh"})},
      {"sae.bandwidth", within(0, any)},
      {"sae.threshold", within(0, any)},
      {"sae.normalise", one_of({"sqrt-d", "unit-square", "none"})},
      {"sae.groups", within(1, most_int)},
      {"sae.recovered_contexts", within(0, most_index)},
      {"sae.steps", within(0, most_index)},
      {"sae.rows", within(1, most_index)},
      {"sae.batch", within(1, most_int)},
      {"sae.learning_rate", within(0, any)},
      {"sae.warmup_steps", within(0, most_index)},
      {"sae.decay_fraction", within(0, 1)},
      {"sae.clip", positive(any)},
      {"sae.aux_weight", within(0, any)},
      {"sae.aux_k", within(0, most_int)},
      {"sae.dead_after", within(1, most_index)},
      {"sae.held_out", {0, 0.9, false, true, {}}},
      {"sae.max_norm", within(0, any)},
      {"sae.reduction", one_of({"reproducible", "fast"})},
      {"sae.device", one_of({"cpu", "cuda", "torch"})},
      {"sae.gpu_exchange", one_of({"auto", "host", "nccl"})},
      {"sae.order", one_of({"global", "buffer"})},
      {"sae.buffer_rows", within(1, most_index)},
      {"sae.memory_gib", within(0, any)},
      {"sae.checkpoint_seconds", within(0, any)},
      {"encode.top", within(1, most_int)},
      {"encode.max_norm", within(0, any)},
      {"correlate.best", within(1, most_int)},
      {"correlate.pairing", one_of({"mutual", "greedy", "optimal", "many-to-one", "paper"})},
      {"correlate.min_r", within(-1, 1)},
      {"correlate.max_q", positive(1)},
      {"correlate.min_firings", within(0, most_index)},
      {"correlate.null_shifts", within(0, most_int)},
      {"correlate.level", {0, 1, true, true, {}}},
      {"correlate.groups", within(0, most_int)},
      {"correlate.memory_gib", positive(any)},
      {"correlate.device", one_of({"cpu", "cuda", "emulated"})},
      {"correlate.gpu_memory_gib", within(0, any)},
      {"compare.measures", one_of({"svcca", "svcca_squared", "svcca_rank1", "pwcca", "rsa", "rsa_pearson", "rsa_rho_a", "rsa_kendall",
                                   "cka", "cka_debiased", "procrustes", "mutual_knn", "principal_angles"})},
      {"compare.svcca_variance", positive(1)},
      {"compare.svcca_k", within(0, most_int)},
      {"compare.route", one_of({"auto", "gram", "qr"})},
      {"compare.rdm", one_of({"correlation", "cosine", "euclidean"})},
      {"compare.neighbours", within(1, most_int)},
      {"compare.kendall_samples", within(2, most_index)},
      {"compare.permutations", within(0, most_int)},
      {"compare.stratified_permutations", within(0, most_int)},
      {"compare.subsets", within(0, most_int)},
      {"compare.level", {0, 1, true, true, {}}},
      {"compare.groups", within(0, most_int)},
      {"compare.memory_gib", positive(any)},
      {"compare.min_matches", within(4, most_index)},
      {"report.top_matches", within(0, most_int)},
  };
  return all;
}

/// NaN is in no range.
bool holds(const Allowed& range, double value) {
  return (range.above_low ? value > range.low : value >= range.low) && (range.below_high ? value < range.high : value <= range.high);
}

std::string number(double value) {
  return value == any ? "any size" : fmt::format("{:.16g}", value);
}

void check_word(const std::string& key, const std::string& word, const Allowed& range, const std::string& where) {
  if (std::find(range.words.begin(), range.words.end(), word) != range.words.end()) return;
  const auto near = nearest(word, range.words);
  fail(ExitCode::config, "{}: {} = \"{}\" must be {}{}", where, key, word, description(range, word),
       near ? "; did you mean \"" + *near + "\"?" : std::string());
}

/// A line break in a name would end up in job names, file names and the report.
void check_text(const std::string& key, const std::string& text, const std::string& where) {
  const bool plain = std::none_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
  require(plain, ExitCode::config, "{}: {} holds a line break or another control character", where, key);
}

} // namespace

const Allowed* allowed(const std::string& key) {
  const auto found = table().find(key);
  return found == table().end() ? nullptr : &found->second;
}

std::string description(const Allowed& range, const Value& value) {
  if (!range.words.empty()) return "one of " + join(range.words, ", ");
  const char* kind = std::holds_alternative<Index>(value) ? "a whole number" : "a number";
  const std::string low = fmt::format("{} {}", range.above_low ? "above" : "from", number(range.low));
  if (range.high == any) return fmt::format("{} {}{}", kind, low, range.above_low ? "" : " on");
  return fmt::format("{} {} {} {}", kind, low, range.below_high ? "and below" : "to", number(range.high));
}

void check_value(const std::string& key, const Value& value, const std::string& where) {
  if (const auto* text = std::get_if<std::string>(&value)) check_text(key, *text, where);
  if (const auto* texts = std::get_if<std::vector<std::string>>(&value))
    for (const auto& text : *texts) check_text(key, text, where);
  const Allowed* range = allowed(key);
  if (range == nullptr) return;
  if (const auto* word = std::get_if<std::string>(&value)) check_word(key, *word, *range, where);
  if (const auto* words = std::get_if<std::vector<std::string>>(&value))
    for (const auto& word : *words) check_word(key, word, *range, where);
  if (const auto* whole = std::get_if<Index>(&value))
    require(holds(*range, static_cast<double>(*whole)), ExitCode::config, "{}: {} = {} must be {}", where, key, *whole,
            description(*range, value));
  if (const auto* real = std::get_if<double>(&value))
    require(holds(*range, *real), ExitCode::config, "{}: {} = {} must be {}", where, key, *real, description(*range, value));
}

} // namespace concord::study
