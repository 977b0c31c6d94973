/// GPT-NeoX and Pythia: LayerNorm, an MLP without a gate that reads what attention reads, rotary embedding of a part of each head. Source:
/// Hugging Face `GPTNeoXForCausalLM`.
#include "concord/model/family.hpp"

#include "model/configs/rope.hpp"
#include "model/configs/shared.hpp"
#include "model/loader.hpp"
#include <ATen/ATen.h>

namespace concord::model {
namespace {

KeyTable gpt_neox_keys() {
  return {{"hidden_act", "attention_bias", "use_parallel_residual", "rotary_pct", "rotary_emb_base", "rope_scaling", "rope_parameters"},
          {},
          {"attention_probs_dropout_prob", "classifier_dropout", "hidden_dropout", "hidden_dropout_prob", "is_decoder"}};
}

void read_gpt_neox_rope(const Fields& fields, ModelConfig& config, const Family::Defaults& defaults) {
  const Fields rope = rope_object(fields);
  const double part = rope.get_or("partial_rotary_factor", fields.get_or("rotary_pct", 0.25));
  config.ropes = {{rope.get_or("rope_theta", fields.get_or("rotary_emb_base", defaults.rope_theta)),
                   rope_scaling(fields, rope, defaults.longest, true), rotated_columns(fields, config, part)}};
}

void read_gpt_neox_config(const Fields& fields, ModelConfig& config) {
  config.names = {"gpt_neox.embed_in", "", "gpt_neox.final_layer_norm", "embed_out"};
  config.layer_norm = true;
  config.gated = false;
  config.mlp_bias = true;
  config.qkv_bias = config.out_bias = fields.get_or("attention_bias", true);
  config.parallel = fields.get_or("use_parallel_residual", true);
  read_gelu(fields, "hidden_act", "gelu", config);
  scale_by_head(config);
}

std::unique_ptr<Block> load_gpt_neox_block(Loader& loader, int layer) {
  const ModelConfig& c = loader.config();
  const std::string name = "gpt_neox.layers." + std::to_string(layer) + ".";
  const std::string attention = name + "attention.";
  BlockParts parts;
  parts.before_attention = loader.layer_norm(name + "input_layernorm");
  parts.before_mlp = loader.layer_norm(name + "post_attention_layernorm");
  const auto by_kind = [&](const at::Tensor& x) { // queries, keys and values of a head lie side by side
    return x.unflatten(0, {c.heads, 3, c.head_dim}).transpose(0, 1).flatten(0, 2);
  };
  parts.qkv = loader.linear(attention + "query_key_value", {c.qkv_width(), c.hidden}, c.qkv_bias, by_kind);
  parts.out = loader.linear({{attention + "dense", c.hidden}}, c.hidden, c.out_bias);
  parts.mlp = {{},
               loader.linear({{name + "mlp.dense_h_to_4h", c.intermediate}}, c.hidden, true),
               loader.linear({{name + "mlp.dense_4h_to_h", c.hidden}}, c.intermediate, true),
               c.activation};
  parts.attention = loader.attention(layer);
  parts.parallel = c.parallel;
  return std::make_unique<DecoderBlock>(std::move(parts));
}

} // namespace

const Family gpt_neox_family{
    "gpt_neox",          {50432, 6144, 24576, 44, 64, 0, 0, 2048, false, 1e-5}, gpt_neox_keys, read_gpt_neox_rope, read_gpt_neox_config,
    load_gpt_neox_block, {.norm_eps = "layer_norm_eps", .of_llama = false}};

} // namespace concord::model
