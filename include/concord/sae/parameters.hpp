#pragma once
/// The weights of an SAE in training, or gradients of them, or of some of its latents: one flat array. Local.

#include "concord/core/index.hpp"

#include <span>
#include <vector>

namespace concord::sae {

struct FlatParameters {
  Index d = 0;
  Index latents = 0;
  Index scalars = 1;       ///< numbers a latent has beside its two rows: b_enc, and what its architecture adds
  std::vector<float> data; ///< encoder [F, d], decoder [F, d], scalars [scalars, F], b_dec [d]
  FlatParameters(Index width, Index n_latents, Index n_scalars)
      : d(width), latents(n_latents), scalars(n_scalars), data(size((2 * n_latents + 1) * width + n_scalars * n_latents), 0.0F) {}
  std::span<float> encoder() { return {data.data(), size(latents * d)}; }
  std::span<float> decoder() { return {data.data() + latents * d, size(latents * d)}; }
  std::span<float> scalar(Index s) { return {data.data() + 2 * latents * d + s * latents, size(latents)}; }
  std::span<float> b_enc() { return scalar(0); }
  std::span<float> b_dec() { return {data.data() + data.size() - d, size(d)}; }
  std::span<const float> encoder() const { return {data.data(), size(latents * d)}; }
  std::span<const float> decoder() const { return {data.data() + latents * d, size(latents * d)}; }
  std::span<const float> scalar(Index s) const { return {data.data() + 2 * latents * d + s * latents, size(latents)}; }
  std::span<const float> b_enc() const { return scalar(0); }
  std::span<const float> b_dec() const { return {data.data() + data.size() - d, size(d)}; }

private:
  static std::size_t size(Index n) { return static_cast<std::size_t>(n); }
};

} // namespace concord::sae
