/// Mistral: Llama with a window for every layer, or none. Source: Hugging Face `MistralForCausalLM`.
#include "concord/model/family.hpp"

#include "model/blocks/pre_norm.hpp"
#include "model/configs/rope.hpp"
#include "model/configs/shared.hpp"

namespace concord::model {
namespace {

KeyTable mistral_keys() {
  return {{"hidden_act", "sliding_window"}, {whole_heads_rotate(), no_attention_bias()}, {}};
}

void read_mistral_config(const Fields& fields, ModelConfig& config) {
  read_silu(fields, config);
  scale_by_head(config);
  read_window_of_all(fields, config, 4096);
}

} // namespace

const Family mistral_family{
    "mistral", {32000, 4096, 14336, 32, 32, 8, 0, 131072, false}, mistral_keys, read_rope, read_mistral_config, load_pre_norm_block};

} // namespace concord::model
