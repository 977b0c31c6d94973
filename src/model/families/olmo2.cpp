/// OLMo 2: norms behind attention and MLP alone, and of all queries and of all keys. Source: Hugging Face `Olmo2ForCausalLM`.
#include "concord/model/family.hpp"

#include "model/configs/rope.hpp"
#include "model/configs/shared.hpp"
#include "model/loader.hpp"

namespace concord::model {
namespace {

KeyTable olmo2_keys() {
  return {{"hidden_act", "attention_bias"}, {whole_heads_rotate()}, {}};
}

void read_olmo2_config(const Fields& fields, ModelConfig& config) {
  read_silu(fields, config);
  scale_by_head(config);
  read_attention_bias(fields, config);
}

std::unique_ptr<Block> load_olmo2_block(Loader& loader, int layer) {
  const ModelConfig& c = loader.config();
  const std::string name = layer_name(layer);
  BlockParts parts = loader.products(layer);
  parts.behind_attention = loader.rms_norm(name + "post_attention_layernorm");
  parts.behind_mlp = loader.rms_norm(name + "post_feedforward_layernorm");
  parts.queries = loader.rms_norm(name + "self_attn.q_norm", c.heads * c.head_dim);
  parts.keys = loader.rms_norm(name + "self_attn.k_norm", c.kv_heads * c.head_dim);
  return std::make_unique<DecoderBlock>(std::move(parts));
}

} // namespace

const Family olmo2_family{"olmo2",         {50304, 4096, 11008, 32, 32, 0, 0, 2048, false, 1e-5}, olmo2_keys, read_rope, read_olmo2_config,
                          load_olmo2_block};

} // namespace concord::model
