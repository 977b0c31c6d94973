#pragma once
/// The weights of an SAE in training, or gradients of them, or of some of its latents: one flat array. Local.

#include "concord/core/index.hpp"

#include <span>
#include <vector>

namespace concord::sae {

struct FlatParameters {
  Index d = 0;
  Index latents = 0;
  std::vector<float> data; ///< encoder [F, d], decoder [F, d], b_enc [F], b_dec [d]
  FlatParameters(Index width, Index n_latents)
      : d(width), latents(n_latents), data(static_cast<std::size_t>(2 * n_latents * width + n_latents + width), 0.0F) {}
  std::span<float> encoder() { return {data.data(), size(latents * d)}; }
  std::span<float> decoder() { return {data.data() + latents * d, size(latents * d)}; }
  std::span<float> b_enc() { return {data.data() + 2 * latents * d, size(latents)}; }
  std::span<float> b_dec() { return {data.data() + 2 * latents * d + latents, size(d)}; }
  std::span<const float> encoder() const { return {data.data(), size(latents * d)}; }
  std::span<const float> decoder() const { return {data.data() + latents * d, size(latents * d)}; }
  std::span<const float> b_enc() const { return {data.data() + 2 * latents * d, size(latents)}; }
  std::span<const float> b_dec() const { return {data.data() + 2 * latents * d + latents, size(d)}; }

private:
  static std::size_t size(Index n) { return static_cast<std::size_t>(n); }
};

} // namespace concord::sae
