/// Llama 2 and 3 and models of their shape (TinyLlama, SmolLM2): RMSNorm before attention and MLP, SwiGLU, rotary embedding
/// with optional scaling, tied or untied head. Source: Hugging Face `LlamaForCausalLM`.
#include "concord/model/family.hpp"

#include "model/blocks/pre_norm.hpp"
#include "model/configs/rope.hpp"
#include "model/configs/shared.hpp"

namespace concord::model {
namespace {

KeyTable llama_keys() {
  return {{"hidden_act", "attention_bias", "mlp_bias"},
          {whole_heads_rotate(),
           {"rope_interleaved", false, "rotary embedding of neighbouring columns"},
           {"qk_layer_norms", false, "norms of queries and keys"}},
          {"neftune_noise_alpha", "perceiver_config", "pixel_shuffle_factor", "use_resampler",
           "type"}}; // in the text_config of SmolVLM and LLaVA-NeXT-Video
}

void read_llama_config(const Fields& fields, ModelConfig& config) {
  read_silu(fields, config);
  read_attention_bias(fields, config);
  config.mlp_bias = fields.get_or("mlp_bias", false);
  scale_by_head(config);
}

} // namespace

const Family llama_family{
    "llama", {32000, 4096, 11008, 32, 32, 0, 0, 2048, false}, llama_keys, read_rope, read_llama_config, load_pre_norm_block};

} // namespace concord::model
