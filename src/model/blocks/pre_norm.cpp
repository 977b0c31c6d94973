#include "model/blocks/pre_norm.hpp"

namespace concord::model {

BlockParts pre_norm_parts(Loader& loader, int layer) {
  const std::string name = layer_name(layer);
  BlockParts parts = loader.products(layer);
  parts.before_attention = loader.rms_norm(name + "input_layernorm");
  parts.before_mlp = loader.rms_norm(name + "post_attention_layernorm");
  return parts;
}

std::unique_ptr<Block> load_pre_norm_block(Loader& loader, int layer) {
  return std::make_unique<DecoderBlock>(pre_norm_parts(loader, layer));
}

} // namespace concord::model
