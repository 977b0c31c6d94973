#pragma once
/// A trained SAE as it is saved. Collective over the ranks of `exchange`.

#include "concord/sae/sae.hpp"

#include "sae/kinds/architecture.hpp"
#include "sae/step/exchange.hpp"
#include "sae/training/folder/training_state.hpp"
#include <vector>

namespace concord::sae {

/// The SAE on unscaled rows. Of one model, codes shrink by the scale s: W_enc stays, biases and thresholds are divided by s. Of several
/// models, each with an s of its own, codes stay: W_enc s, W_dec / s, b_dec / s. Its matrices are those of the training, which ends
/// with it. @param parts  widths of the models; d their sum
Sae folded(TrainingState& state, const Architecture& architecture, Exchange& exchange, const std::vector<Index>& parts, Index d,
           Index latents);

} // namespace concord::sae
