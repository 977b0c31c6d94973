#include "model/blocks/decoder_block.hpp"

namespace concord::model {

using at::Tensor;

Tensor DecoderBlock::attended(const Tensor& residual, const Attend& attend) const {
  const BlockParts& p = parts_;
  Tensor qkv = p.qkv(p.before_attention(residual));
  const auto norm_heads = [&](const Norm& norm, Index first, Index heads) {
    if (!norm.defined()) return;
    const Index width = norm.weight.size(0);
    rms_norm_columns(qkv, first * p.attention.head_dim, heads * p.attention.head_dim / width, norm.weight, norm.eps);
  };
  norm_heads(p.queries, 0, p.attention.heads);
  norm_heads(p.keys, p.attention.heads, p.attention.kv_heads);
  return p.out(attend(qkv, p.attention));
}

void DecoderBlock::run(Tensor& residual, const Attend& attend) const {
  const BlockParts& p = parts_;
  const Tensor for_mlp = p.parallel ? p.before_mlp(residual) : Tensor();
  p.behind_attention.add_to(residual, attended(residual, attend));
  p.mlp(p.parallel ? for_mlp : p.before_mlp(residual), [&](Index begin, Index end, const Tensor& fed) {
    Tensor rows = residual.slice(0, begin, end);
    p.behind_mlp.add_to(rows, fed);
  });
}

} // namespace concord::model
