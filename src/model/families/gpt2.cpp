/// GPT-2: LayerNorm, learned positions, an MLP without a gate, matrices that are stored the other way round. Source: Hugging Face
/// `GPT2LMHeadModel`.
#include "concord/model/family.hpp"

#include "model/configs/shared.hpp"
#include "model/loader.hpp"
#include <ATen/ATen.h>

namespace concord::model {
namespace {

KeyTable gpt2_keys() {
  return {{"activation_function", "n_positions", "scale_attn_weights", "scale_attn_by_inverse_layer_idx"},
          {{"add_cross_attention", false, "attention to another model's states", false}},
          {"n_ctx", "resid_pdrop", "embd_pdrop", "attn_pdrop", "reorder_and_upcast_attn", "summary_type", "summary_use_proj",
           "summary_activation", "summary_proj_to_labels", "summary_first_dropout", "task_specific_params", "_num_labels", "n_special",
           "output_past", "predict_special_tokens"}};
}

void no_rope(const Fields& fields, ModelConfig& config, const Family::Defaults&) {
  (void)fields;
  config.ropes = {{}}; // no columns are rotated
}

void read_gpt2_config(const Fields& fields, ModelConfig& config) {
  config.names = {"transformer.wte", "transformer.wpe", "transformer.ln_f", "lm_head"};
  config.layer_norm = true;
  config.gated = false;
  config.qkv_bias = config.out_bias = config.mlp_bias = true;
  config.positions = fields.whole_or("n_positions", 1024, 1, Index{1} << 24);
  read_gelu(fields, "activation_function", "gelu_new", config);
  if (fields.get_or("scale_attn_weights", true)) scale_by_head(config);
  config.scale_by_layer = fields.get_or("scale_attn_by_inverse_layer_idx", false);
}

std::unique_ptr<Block> load_gpt2_block(Loader& loader, int layer) {
  const ModelConfig& c = loader.config();
  const std::string name = "transformer.h." + std::to_string(layer) + ".";
  const auto product = [&](const std::string& of, Index in, Index out) {
    return loader.linear(name + of, {in, out}, true, [](const at::Tensor& x) { return x.dim() == 2 ? x.t() : x; });
  };
  BlockParts parts;
  parts.before_attention = loader.layer_norm(name + "ln_1");
  parts.before_mlp = loader.layer_norm(name + "ln_2");
  parts.qkv = product("attn.c_attn", c.hidden, c.qkv_width());
  parts.out = product("attn.c_proj", c.hidden, c.hidden);
  parts.mlp = {{}, product("mlp.c_fc", c.hidden, c.intermediate), product("mlp.c_proj", c.intermediate, c.hidden), c.activation};
  parts.attention = loader.attention(layer);
  if (c.scale_by_layer) parts.attention.scale /= layer + 1;
  return std::make_unique<DecoderBlock>(std::move(parts));
}

} // namespace

const Family gpt2_family{"gpt2",
                         {50257, 768, 0, 12, 12, 0, 0, 1024, true, 1e-5},
                         gpt2_keys,
                         no_rope,
                         read_gpt2_config,
                         load_gpt2_block,
                         {.hidden = "n_embd",
                          .intermediate = "n_inner",
                          .layers = "n_layer",
                          .heads = "n_head",
                          .norm_eps = "layer_norm_epsilon",
                          .longest = "n_positions",
                          .of_llama = false}};

} // namespace concord::model
