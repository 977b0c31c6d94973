#include "concord/sae/search/encoder.hpp"

#include "concord/comm/agree.hpp"
#include "concord/core/error.hpp"

#include "sae/numbers/rows.hpp"
#include <algorithm>
#include <cmath>

namespace concord::sae {

void decode_row(const Sae& sae, const SparseRows& codes, Index r, std::span<float> row) {
  std::copy(sae.b_dec.begin(), sae.b_dec.end(), row.begin());
  for (Index e = r == 0 ? 0 : codes.ends[at(r - 1)]; e < codes.ends[at(r)]; ++e)
    add_scaled(row.data(), sae.decoder.data() + codes.index[at(e)] * sae.d, codes.value[at(e)], sae.d);
}

Encoder::Encoder(const Sae& sae, bool before_top_k, const comm::Communicator* sharing)
    : sae_(sae), before_top_k_(before_top_k), screen_(sae.d, Screen::Precision::bf16, sharing, Screen::Counting::alone) {
  const auto check = [&] {
    require(!before_top_k || sae.architecture == Sae::Architecture::topk, ExitCode::config,
            "encode.before_top_k is for TopK SAEs; this one has no k to leave out");
  };
  if (sharing != nullptr)
    comm::agree(*sharing, check);
  else
    check();
  screen_.update(sae.encoder.values(), sae.b_enc, {}, sae.threshold);
}

/// The code of a pre-activation that was found; 0: not active.
float Encoder::value(std::int32_t latent, float hidden) const {
  const auto j = at(latent);
  if (sae_.architecture == Sae::Architecture::jumprelu) return hidden > std::max(0.0F, sae_.threshold[j]) ? hidden : 0.0F;
  if (sae_.architecture != Sae::Architecture::gated) return hidden;
  return hidden > 0 ? std::exp(sae_.r_mag[j]) * (hidden - sae_.b_enc[j]) + sae_.b_mag[j] : 0.0F;
}

void Encoder::encode(std::span<const float> rows, SparseRows& out, bool before_top_k) {
  const Index n = static_cast<Index>(rows.size()) / sae_.d;
  if (sae_.subtract_b_dec) {
    centred_.resize(rows.size());
    for_rows(n, [&](Index r) {
      for (Index c = 0; c < sae_.d; ++c) centred_[at(r * sae_.d + c)] = rows[at(r * sae_.d + c)] - sae_.b_dec[at(c)];
    });
  }
  const std::span<const float> x = sae_.subtract_b_dec ? std::span<const float>(centred_) : rows;
  if (sae_.architecture == Sae::Architecture::topk && !before_top_k)
    screen_.top_k(x, sae_.k, codes_);
  else
    screen_.above(x, 0.0F, codes_);
  for (Index r = 0; r < n; ++r) {
    for (Index s = codes_.begin(r); s < codes_.end(r); ++s) {
      const float a = value(codes_.index[at(s)], codes_.value[at(s)]);
      if (a <= 0) continue;
      out.index.push_back(codes_.index[at(s)]);
      out.value.push_back(a);
    }
    out.ends.push_back(static_cast<Index>(out.index.size()));
  }
}

} // namespace concord::sae
