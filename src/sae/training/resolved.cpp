#include "sae/training/resolved.hpp"

#include "sae/training/start.hpp"
#include <algorithm>
#include <cmath>

namespace concord::sae {

TrainOptions resolved(TrainOptions o, Index d) {
  if (o.steps <= 0) o.steps = std::max<Index>(1, o.rows / o.batch);
  if (o.learning_rate <= 0) o.learning_rate = architecture_kind(o.kind).learning_rate / std::sqrt(static_cast<double>(o.latents) / 16384.0);
  o.warmup_steps = std::min(o.warmup_steps, std::max<Index>(1, o.steps / 10));
  o.aux_k = static_cast<int>(dead_latents_a_row(o, d));
  return o;
}

ArchitectureSettings architecture_settings(const TrainOptions& o, const RowFeed& feed) {
  ArchitectureSettings s{o.kind,     feed.cols(), o.latents,   o.batch,     o.k,         o.prefixes,
                         o.sparsity, o.penalty,   o.bandwidth, o.threshold, feed.parts()};
  return with_defaults(s, norm_after(o.normalise, feed.cols()));
}

StageKey key_of(const TrainOptions& o, const ArchitectureSettings& a, const RowFeed& feed) {
  StageKey key{"train-sae", settings::digest_of<TrainSettings>(o), {{"activations", feed.digest()}}};
  auto& said = key.settings;
  said["seed"] = o.seed;
  said["layer"] = o.layer;
  said["sparsity"] = a.sparsity;
  said["bandwidth"] = a.bandwidth;
  said["threshold"] = a.threshold;
  const auto counts_where = [&](bool condition, std::initializer_list<const char*> names) {
    if (!condition)
      for (const char* name : names) said.erase(name);
  };
  const bool penalised = architecture_kind(o.kind).penalised;
  counts_where(false, {"rows", "order"}); // they say how many steps there are, and whether there is a buffer
  counts_where(o.kind != Kind::topk, {"kind"});
  counts_where(penalised, {"sparsity", "sparsity_warmup"});
  counts_where(!penalised, {"k"});
  counts_where(o.kind == Kind::matryoshka, {"prefixes"});
  counts_where(o.kind == Kind::jumprelu, {"penalty", "bandwidth", "threshold"});
  counts_where(o.normalise != Normalisation::sqrt_d, {"normalise"});
  counts_where(o.order != Order::global, {"buffer_rows"});
  if (o.order_seed && *o.order_seed != o.seed) said["order_seed"] = *o.order_seed;
  return key;
}

double learning_rate(const TrainOptions& o, Index number) {
  const auto step = static_cast<double>(number);
  const double warm = std::min(1.0, (step + 1) / static_cast<double>(o.warmup_steps));
  const double decay_steps = std::max(1.0, o.decay_fraction * static_cast<double>(o.steps));
  return o.learning_rate * std::min(warm, std::min(1.0, (static_cast<double>(o.steps) - step) / decay_steps));
}

float penalty_share(const TrainOptions& o, Index step) {
  const double steps = o.sparsity_warmup * static_cast<double>(o.steps);
  return static_cast<float>(std::min(1.0, (static_cast<double>(step) + 1) / std::max(1.0, steps)));
}

} // namespace concord::sae
