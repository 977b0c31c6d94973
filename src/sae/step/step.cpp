#include "sae/step/step.hpp"

#include "sae/numbers/decode.hpp"
#include <algorithm>

namespace concord::sae {

Step::Step(Architecture& architecture, Index k_aux, double alpha)
    : architecture_(architecture), d_(architecture.settings().d), k_aux_(k_aux), alpha_(alpha),
      dead_screen_(d_, Screen::Precision::int8, architecture.comm().size() > 1 ? &architecture.comm() : nullptr) {
  rows_.d = d_;
  rows_.prefixes = architecture.prefixes();
}

double Step::forward(const FlatParameters& parameters, std::span<const float> rows, std::vector<Index> positions,
                     const std::vector<std::uint8_t>& dead, float warmth) {
  rows_.positions = std::move(positions);
  centred_.resize(rows.size()); // keeps its memory: fresh pages are dear
  error_.resize(rows.size());
  if (rows_.prefixes.size() > 1) prefix_pull_.resize(rows.size() * rows_.prefixes.size());
  rows_.centred = centred_;
  rows_.error = error_;
  rows_.prefix_pull = prefix_pull_;
  rows_.with_aux = false;
  const float* b_dec = parameters.b_dec().data();
  for_rows(rows_.count(), [&](Index r) {
    for (Index c = 0; c < d_; ++c) centred_[at(r * d_ + c)] = rows[at(r * d_ + c)] - b_dec[c];
  });
  architecture_.encode(parameters, rows_.centred, rows_.codes);
  rows_.codes.begin_gradients();
  decode(parameters);
  const double penalty = architecture_.backward(parameters, rows_, warmth);
  has_dead_ = find_dead(dead_screen_, parameters.encoder(), parameters.b_enc(), rows_.centred, dead, k_aux_, rows_.aux);
  return penalty;
}

/// Errors of all prefixes, and with the decoder's rows still near dL/da of the codes.
void Step::decode(const FlatParameters& parameters) {
  const float* decoder = parameters.decoder().data();
  const auto& prefixes = rows_.prefixes;
  const std::size_t several = prefixes.size() > 1 ? prefixes.size() : 0;
  for_row_pieces(rows_.count(), [&](Index begin, Index end) {
    float* error = error_.data();
    for (Index i = begin * d_; i < end * d_; ++i) error[i] = -rows_.centred[at(i)];
    std::int32_t low = 0;
    for (std::size_t g = 0; g < prefixes.size(); ++g) {
      decode_rows(rows_.codes, rows_.codes.value.data(), decoder, d_, low, prefixes[g], begin, end, error);
      low = prefixes[g];
      for (Index r = begin; several != 0 && r < end; ++r)
        std::copy_n(error + r * d_, d_, prefix_pull_.data() + (r * static_cast<Index>(several) + static_cast<Index>(g)) * d_);
    }
    // The errors of a prefix and of all larger ones pull at its latents.
    const float share = 1.0F / static_cast<float>(prefixes.size());
    for (Index r = begin; several != 0 && r < end; ++r) {
      float* pull = prefix_pull_.data() + r * rows_.stride();
      for (Index i = rows_.stride() - 1; i >= 0; --i) pull[i] = share * pull[i] + (i + d_ < rows_.stride() ? pull[i + d_] : 0.0F);
    }
    low = 0;
    for (std::size_t g = 0; g < prefixes.size(); ++g) {
      add_products(rows_.codes, rows_.pull(g), rows_.stride(), decoder, d_, architecture_.settings().scale(), low, prefixes[g], begin, end,
                   rows_.codes.gradient.data());
      low = prefixes[g];
    }
  });
}

double Step::backward_dead(const FlatParameters& parameters, double error_variance) {
  const auto scale = static_cast<float>(2.0 * alpha_ / error_variance);
  const float* decoder = parameters.decoder().data();
  const auto latents = static_cast<std::int32_t>(parameters.latents);
  rows_.with_aux = true;
  aux_gradient_.resize(error_.size());
  rows_.aux_gradient = aux_gradient_;
  std::vector<double> errors(rows_.positions.size());
  for_row_pieces(rows_.count(), [&](Index begin, Index end) {
    float* g = aux_gradient_.data();
    std::copy(rows_.error.begin() + begin * d_, rows_.error.begin() + end * d_, g + begin * d_); // e^ - e = e^ + (x^ - x)
    decode_rows(rows_.aux, rows_.aux.value.data(), decoder, d_, 0, latents, begin, end, g);
    for (Index r = begin; r < end; ++r) {
      errors[at(r)] = squared_norm({g + r * d_, at(d_)});
      for (Index c = r * d_; c < (r + 1) * d_; ++c) g[c] *= scale;
    }
    add_products(rows_.aux, g, d_, decoder, d_, 1.0F, 0, latents, begin, end, rows_.aux.gradient.data());
  });
  return sum_in_order(errors);
}

} // namespace concord::sae
