#include "concord/core/error.hpp"
#include "concord/sae/training/train.hpp"

#include "sae/kinds/architecture.hpp"
#include <algorithm>

namespace concord::sae {

void check(const TrainOptions& o) {
  settings::check_all<TrainSettings>(o, "sae", "this training");
  require(o.k <= o.latents || architecture_kind(o.kind).penalised, ExitCode::config, "sae.k = {} must lie between 1 and sae.latents = {}",
          o.k, o.latents);
  require(o.max_norm == 0 || o.max_norm > 1, ExitCode::config, "sae.max_norm = {} must be 0 (no limit) or a number above 1", o.max_norm);
  require(o.device == Device::cpu || o.reduction == Reduction::fast, ExitCode::config,
          "sae.device = \"{}\" needs sae.reduction = \"fast\": on a GPU the bits of sums depend on the ranks", settings::word_of(o.device));
  require(o.with.empty() || o.order == Order::global, ExitCode::config, "a crosscoder needs sae.order = \"global\"");
  require(o.layer >= -1, ExitCode::config, "--layer = {} must be at least -1", o.layer);
}

Index dead_latents_a_row(const TrainSettings& settings, Index d) {
  return settings.aux_k > 0 ? settings.aux_k : std::max<Index>(1, d / 2);
}

} // namespace concord::sae
