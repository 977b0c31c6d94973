/// Qwen2 and 2.5: Llama with biases of queries, keys and values; upper layers may slide. Source: Hugging Face `Qwen2ForCausalLM`.
#include "concord/model/family.hpp"

#include "model/blocks/pre_norm.hpp"
#include "model/configs/rope.hpp"
#include "model/configs/shared.hpp"

namespace concord::model {
namespace {

KeyTable qwen2_keys() {
  return {{"hidden_act", "sliding_window", "use_sliding_window", "max_window_layers", "layer_types"},
          {whole_heads_rotate(),
           {"attention_bias", true, "attention without biases, which this model_type has"},
           {"use_mrope", false, "rotary embedding of several dimensions"}},
          {}};
}

void read_qwen2_config(const Fields& fields, ModelConfig& config) {
  read_silu(fields, config);
  scale_by_head(config);
  config.qkv_bias = true;
  read_qwen_window(fields, config);
}

} // namespace

const Family qwen2_family{
    "qwen2", {151936, 4096, 22016, 32, 32, 32, 0, 32768, false}, qwen2_keys, read_rope, read_qwen2_config, load_pre_norm_block};

} // namespace concord::model
