#include "sae/training/folded.hpp"

#include "concord/core/at.hpp"

#include "sae/training/start.hpp"
#include <span>

namespace concord::sae {

Sae folded(TrainingState& state, const Architecture& architecture, Exchange& exchange, const std::vector<Index>& parts, Index d,
           Index latents) {
  Sae sae;
  sae.d = d;
  sae.latents = latents;
  auto& p = state.parameters;
  sae.encoder = {exchange.memory(), p.encoder()};
  sae.decoder = {exchange.memory(), p.decoder()};
  sae.b_enc.assign(p.b_enc().begin(), p.b_enc().end());
  sae.b_dec.assign(p.b_dec().begin(), p.b_dec().end());
  architecture.describe(p, sae);
  if (parts.size() == 1) {
    const double scale = state.scales[0];
    for (auto* values : {&sae.b_enc, &sae.b_dec, &sae.threshold, &sae.b_mag})
      for (float& b : *values) b = static_cast<float>(b / scale);
    return sae;
  }
  sae.parts = parts;
  std::vector<double> inverse;
  for (const double scale : state.scales) inverse.push_back(1 / scale);
  const auto mine = [&](std::span<float> rows) { return rows.subspan(at(exchange.first() * d), at(exchange.count() * d)); };
  scale_rows(mine(p.encoder()), parts, state.scales);
  scale_rows(mine(p.decoder()), parts, inverse);
  exchange.spread();
  scale_rows(sae.b_dec, parts, inverse);
  return sae;
}

} // namespace concord::sae
