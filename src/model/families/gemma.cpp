/// Gemma 1: Llama with 1 + w in its norms, GeGLU (tanh), and embeddings times the root of d. Source: Hugging Face `GemmaForCausalLM`.
#include "concord/model/family.hpp"

#include "model/blocks/pre_norm.hpp"
#include "model/configs/rope.hpp"
#include "model/configs/shared.hpp"

namespace concord::model {
namespace {

KeyTable gemma_keys() {
  return {{"hidden_act", "attention_bias"},
          {whole_heads_rotate(), no_later_tokens(), {"hidden_activation", "gelu_pytorch_tanh", "another activation"}},
          {}};
}

void read_gemma_config(const Fields& fields, ModelConfig& config) {
  read_gemma(config);
  scale_by_head(config);
  read_attention_bias(fields, config);
  const auto activation = fields.get_or<std::string>("hidden_act", "gelu_pytorch_tanh"); // "gelu" of the first files means the tanh form
  require(activation == "gelu_pytorch_tanh" || activation == "gelu", ExitCode::bad_data,
          "{}: hidden_act {} is not supported in model_type gemma", fields.file(), activation);
}

} // namespace

const Family gemma_family{
    "gemma", {256000, 3072, 24576, 28, 16, 16, 256, 8192, true}, gemma_keys, read_rope, read_gemma_config, load_pre_norm_block};

} // namespace concord::model
