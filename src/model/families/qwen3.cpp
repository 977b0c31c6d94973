/// Qwen3: Llama with norms of each head's queries and keys; upper layers may slide. Source: Hugging Face `Qwen3ForCausalLM`.
#include "concord/model/family.hpp"

#include "model/blocks/pre_norm.hpp"
#include "model/configs/rope.hpp"
#include "model/configs/shared.hpp"

namespace concord::model {
namespace {

KeyTable qwen3_keys() {
  return {{"hidden_act", "attention_bias", "sliding_window", "use_sliding_window", "max_window_layers", "layer_types"},
          {whole_heads_rotate()},
          {}};
}

void read_qwen3_config(const Fields& fields, ModelConfig& config) {
  read_silu(fields, config);
  scale_by_head(config);
  read_attention_bias(fields, config);
  read_qwen_window(fields, config);
}

std::unique_ptr<Block> load_qwen3_block(Loader& loader, int layer) {
  BlockParts parts = pre_norm_parts(loader, layer);
  parts.queries = loader.rms_norm(layer_name(layer) + "self_attn.q_norm", loader.config().head_dim);
  parts.keys = loader.rms_norm(layer_name(layer) + "self_attn.k_norm", loader.config().head_dim);
  return std::make_unique<DecoderBlock>(std::move(parts));
}

} // namespace

const Family qwen3_family{"qwen3",         {151936, 4096, 22016, 32, 32, 32, 128, 32768, false}, qwen3_keys, read_rope, read_qwen3_config,
                          load_qwen3_block};

} // namespace concord::model
