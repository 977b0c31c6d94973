#include "concord/core/error.hpp"
#include "concord/sae/architecture.hpp"
#include "concord/sae/train.hpp"

#include <cmath>
#include <limits>

namespace concord::sae {
namespace {

void in_range(const char* key, Index value, Index least, Index most = std::numeric_limits<Index>::max()) {
  require(value >= least && value <= most, ExitCode::config, "{} = {} must {}", key, value,
          most == std::numeric_limits<Index>::max() ? fmt::format("be at least {}", least)
                                                    : fmt::format("lie between {} and {}", least, most));
}

/// NaN is in no range.
void at_least_zero(const char* key, double value) {
  require(value >= 0 && std::isfinite(value), ExitCode::config, "{} = {} must be a number of at least 0", key, value);
}

void share_of_one(const char* key, double value) {
  require(value >= 0 && value <= 1, ExitCode::config, "{} = {} must lie in [0, 1]", key, value);
}

void check_words(const TrainOptions& o) {
  architecture_kind(o.kind);
  require(o.penalty == "step" || o.penalty == "tanh", ExitCode::config, "sae.penalty must be \"step\" or \"tanh\", not \"{}\"", o.penalty);
  require(o.reduction == "fast" || o.reduction == "reproducible", ExitCode::config,
          "sae.reduction must be \"fast\" or \"reproducible\", not \"{}\"", o.reduction);
  require(o.device == "cpu" || o.device == "cuda" || o.device == "torch", ExitCode::config,
          "sae.device must be \"cpu\" or \"cuda\" (or \"torch\", to check the GPU's code on the CPU), not \"{}\"", o.device);
  require(o.gpu_exchange == "auto" || o.gpu_exchange == "host" || o.gpu_exchange == "nccl", ExitCode::config,
          "sae.gpu_exchange must be \"auto\", \"host\" or \"nccl\", not \"{}\"", o.gpu_exchange);
  require(o.device == "cpu" || o.reduction == "fast", ExitCode::config,
          "sae.device = \"{}\" needs sae.reduction = \"fast\": on a GPU the bits of sums depend on the ranks", o.device);
  require(o.order == "global" || o.order == "buffer", ExitCode::config, "sae.order must be \"global\" or \"buffer\", not \"{}\"", o.order);
  require(o.with.empty() || o.order == "global", ExitCode::config, "a crosscoder needs sae.order = \"global\"");
}

} // namespace

void check(const TrainOptions& o) {
  check_words(o);
  in_range("sae.latents", o.latents, 1, std::numeric_limits<std::int32_t>::max());
  require(o.k > 0 && o.k <= o.latents, ExitCode::config, "sae.k = {} must lie between 1 and sae.latents = {}", o.k, o.latents);
  in_range("sae.prefixes", o.prefixes, 1, 30);
  at_least_zero("sae.sparsity", o.sparsity);
  share_of_one("sae.sparsity_warmup", o.sparsity_warmup);
  at_least_zero("sae.bandwidth", o.bandwidth);
  at_least_zero("sae.threshold", o.threshold);
  in_range("sae.steps", o.steps, 0);
  in_range("sae.rows", o.rows, 1);
  in_range("sae.batch", o.batch, 1, std::numeric_limits<std::int32_t>::max());
  at_least_zero("sae.learning_rate", o.learning_rate);
  in_range("sae.warmup_steps", o.warmup_steps, 0);
  share_of_one("sae.decay_fraction", o.decay_fraction);
  require(o.clip > 0 && std::isfinite(o.clip), ExitCode::config, "sae.clip = {} must be a positive number", o.clip);
  at_least_zero("sae.aux_weight", o.aux_weight);
  in_range("sae.aux_k", o.aux_k, 0);
  in_range("sae.dead_after", o.dead_after, 1);
  require(o.held_out >= 0 && o.held_out < 0.9, ExitCode::config, "sae.held_out = {} must lie in [0, 0.9)", o.held_out);
  require(o.max_norm == 0 || (o.max_norm > 1 && std::isfinite(o.max_norm)), ExitCode::config,
          "sae.max_norm = {} must be 0 (no limit) or a number above 1", o.max_norm);
  in_range("sae.buffer_rows", o.buffer_rows, 1);
  at_least_zero("sae.memory_gib", o.memory_gib);
  at_least_zero("sae.checkpoint_seconds", o.checkpoint_seconds);
  in_range("--layer", o.layer, -1);
}

} // namespace concord::sae
