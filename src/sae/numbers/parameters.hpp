#pragma once
/// The weights of an SAE in training, or gradients of them, or of some of its latents. Local.

#include "concord/core/index.hpp"

#include <span>
#include <vector>

namespace concord::sae {

class FlatParameters {
public:
  Index d = 0;
  Index latents = 0;
  Index scalars = 1; ///< numbers a latent has beside its two rows: b_enc, and what its architecture adds

  /// Zeros in memory of its own.
  FlatParameters(Index width, Index n_latents, Index n_scalars) : FlatParameters(width, n_latents, n_scalars, std::span<float>()) {
    own_.assign(size(count(width, n_latents, n_scalars)), 0.0F);
    of_latents_ = own_;
  }
  /// What belongs to latents in other memory of count() numbers, which must outlive it.
  FlatParameters(Index width, Index n_latents, Index n_scalars, std::span<float> of_latents)
      : d(width), latents(n_latents), scalars(n_scalars), of_latents_(of_latents), b_dec_(size(width), 0.0F) {}
  FlatParameters(FlatParameters&&) = default;
  FlatParameters& operator=(FlatParameters&&) = default;
  FlatParameters(const FlatParameters&) = delete;
  FlatParameters& operator=(const FlatParameters&) = delete;
  ~FlatParameters() = default;

  static Index count(Index width, Index n_latents, Index n_scalars) { return n_latents * (2 * width + n_scalars); }
  /// encoder [F, d], decoder [F, d], scalars [scalars, F] behind one another.
  std::span<float> of_latents() { return of_latents_; }
  std::span<const float> of_latents() const { return of_latents_; }
  std::span<float> encoder() { return of_latents_.subspan(0, size(latents * d)); }
  std::span<float> decoder() { return of_latents_.subspan(size(latents * d), size(latents * d)); }
  std::span<float> scalar(Index s) { return of_latents_.subspan(size(2 * latents * d + s * latents), size(latents)); }
  std::span<float> b_enc() { return scalar(0); }
  std::span<float> b_dec() { return b_dec_; }
  std::span<const float> encoder() const { return of_latents().subspan(0, size(latents * d)); }
  std::span<const float> decoder() const { return of_latents().subspan(size(latents * d), size(latents * d)); }
  std::span<const float> scalar(Index s) const { return of_latents().subspan(size(2 * latents * d + s * latents), size(latents)); }
  std::span<const float> b_enc() const { return scalar(0); }
  std::span<const float> b_dec() const { return b_dec_; }

private:
  static std::size_t size(Index n) { return static_cast<std::size_t>(n); }
  std::vector<float> own_;
  std::span<float> of_latents_;
  std::vector<float> b_dec_;
};

} // namespace concord::sae
