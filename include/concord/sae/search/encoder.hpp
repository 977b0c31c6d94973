#pragma once
/// Sparse codes of dense rows, by a trained SAE. Local where it does not say Collective.

#include "concord/sae/sae.hpp"
#include "concord/sae/search/screen.hpp"

#include <span>
#include <vector>

namespace concord::sae {

/// The reconstruction of row r of `codes` into `row` [d]: its codes by the decoder, and b_dec.
void decode_row(const Sae& sae, const SparseRows& codes, Index r, std::span<float> row);

/// Encodes blocks of rows as sae.hpp says, exactly in f32: latents are screened in bf16, whose bound always holds. A row's codes depend on
/// it alone. Keeps the SAE, which must stay where it is, and its buffers.
class Encoder {
public:
  /// `before_top_k`: of a TopK SAE every positive pre-activation, not the k largest alone. @throws Error config for other SAEs.
  /// `sharing`: ranks of a node share the rounded weights (2 F d bytes); all of `sharing`, which must outlive it, have the same SAE.
  /// Collective over it.
  explicit Encoder(const Sae& sae, bool before_top_k = false, const comm::Communicator* sharing = nullptr);
  /// rows [n, d] row-major; appends n rows to `out`.
  void encode(std::span<const float> rows, SparseRows& out) { encode(rows, out, before_top_k_); }
  /// The same with or without the choice of the k largest, whatever the constructor was told.
  void encode(std::span<const float> rows, SparseRows& out, bool before_top_k);

private:
  float value(std::int32_t latent, float hidden) const;
  const Sae& sae_;
  bool before_top_k_;
  Screen screen_;
  std::vector<float> centred_;
  Codes codes_;
};

} // namespace concord::sae
