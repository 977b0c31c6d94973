#include "model/blocks/four_norms.hpp"

namespace concord::model {

BlockParts four_norm_parts(Loader& loader, int layer) {
  const std::string name = layer_name(layer);
  BlockParts parts = loader.products(layer);
  parts.before_attention = loader.rms_norm(name + "input_layernorm");
  parts.behind_attention = loader.rms_norm(name + "post_attention_layernorm");
  parts.before_mlp = loader.rms_norm(name + "pre_feedforward_layernorm");
  parts.behind_mlp = loader.rms_norm(name + "post_feedforward_layernorm");
  return parts;
}

} // namespace concord::model
