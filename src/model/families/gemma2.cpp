/// Gemma-2: RMSNorm with 1 + w before and behind attention and MLP, soft-capped attention scores, every other layer in a
/// sliding window, GeGLU (tanh), embedding scaled by sqrt(d), tied head with soft-capped logits.
/// Source: Hugging Face `Gemma2ForCausalLM`.
#include "concord/model/family.hpp"

#include "model/blocks/four_norms.hpp"
#include "model/configs/rope.hpp"
#include "model/configs/shared.hpp"

namespace concord::model {
namespace {

KeyTable gemma2_keys() {
  return {{"attention_bias", "hidden_activation", "query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping",
           "sliding_window", "layer_types"},
          {whole_heads_rotate(), no_later_tokens()},
          {"hidden_act", "sliding_window_size"}}; // older files have them beside those that Gemma2Config reads
}

void read_gemma2_config(const Fields& fields, ModelConfig& config) {
  require(config.ropes[0].scaling.kind == RopeScaling::Kind::none, ExitCode::bad_data,
          "{}: rope_scaling (or rope_parameters with a rope_type) is not supported for Gemma-2", fields.file());
  read_gemma(config);
  read_gemma_attention(fields, config);
  read_attention_bias(fields, config);
  config.attn_softcap = read_softcap(fields, "attn_logit_softcapping", 50.0);
  config.final_softcap = read_softcap(fields, "final_logit_softcapping", 30.0);
  if (read_layer_types(fields, config)) return;
  for (std::size_t l = 0; l < config.sliding.size(); l += 2) config.sliding[l] = true; // older style: every even layer slides
}

std::unique_ptr<Block> load_gemma2_block(Loader& loader, int layer) {
  return std::make_unique<DecoderBlock>(four_norm_parts(loader, layer));
}

} // namespace

const Family gemma2_family{"gemma2",         {256000, 2304, 9216, 26, 8, 4, 256, 8192, true}, gemma2_keys, read_rope, read_gemma2_config,
                           load_gemma2_block};

} // namespace concord::model
