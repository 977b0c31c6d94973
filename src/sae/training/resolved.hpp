#pragma once
/// The options of a training with what depends on its rows, and the key of its result. Local.

#include "concord/core/run/provenance.hpp"
#include "concord/sae/training/train.hpp"

#include "sae/kinds/architecture.hpp"

namespace concord::sae {

/// Options with the defaults that depend on the data or the kind filled in.
TrainOptions resolved(TrainOptions o, Index d);
ArchitectureSettings architecture_settings(const TrainOptions& o, const RowFeed& feed);
/// What the weights hang on. What another kind alone knows, and what was added later and has its default, is left out: older results stay
/// valid.
StageKey key_of(const TrainOptions& o, const ArchitectureSettings& a, const RowFeed& feed);
/// Adam's rate at a step: it warms up and decays in straight lines.
double learning_rate(const TrainOptions& o, Index step);
/// Share of lambda that counts at a step.
float penalty_share(const TrainOptions& o, Index step);

} // namespace concord::sae
