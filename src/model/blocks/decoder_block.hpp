#pragma once
/// The block of most families: norms, attention and MLP, of which a family's own have or leave out this or that. Local.

#include "concord/model/family.hpp"

namespace concord::model {

/// A norm that is not defined is left out.
struct BlockParts {
  Norm before_attention, behind_attention;
  Norm before_mlp, behind_mlp;
  Norm queries, keys; ///< RMS, of each head or of all heads at once, as their weights are long
  Linear qkv, out;
  AttentionSettings attention;
  Mlp mlp;
  bool parallel = false; ///< the MLP reads what attention reads, and not what it gives
};

class DecoderBlock final : public Block {
public:
  explicit DecoderBlock(BlockParts parts) : parts_(std::move(parts)) {}
  void run(at::Tensor& residual, const Attend& attend) const override;

private:
  at::Tensor attended(const at::Tensor& residual, const Attend& attend) const;
  BlockParts parts_;
};

} // namespace concord::model
