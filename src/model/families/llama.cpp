/// Llama 2 and 3 and models of their shape (TinyLlama, SmolLM2): RMSNorm before attention and MLP, SwiGLU, rotary embedding
/// with optional scaling, tied or untied head. Source: Hugging Face `LlamaForCausalLM`.
#include "concord/model/family.hpp"

#include "model/loader.hpp"
#include <cmath>

namespace concord::model {

using at::Tensor;

namespace {

KeyTable llama_keys() {
  return {{"hidden_act"},
          {{"mlp_bias", false, "biases of the MLP, which is not supported", false},
           {"rope_interleaved", false, "rotary embedding of neighbouring columns"},
           {"qk_layer_norms", false, "norms of queries and keys"}},
          {"neftune_noise_alpha", "perceiver_config", "pixel_shuffle_factor", "use_resampler"}}; // in the text_config of SmolVLM
}

void read_llama_config(const Fields& fields, ModelConfig& config) {
  config.activation = Activation::silu;
  config.attention_scale = 1.0 / std::sqrt(static_cast<double>(config.head_dim));
  const auto activation = fields.get_or<std::string>("hidden_act", "silu");
  require(activation == "silu", ExitCode::bad_data, "{}: hidden_act {} is not supported", fields.file(), activation);
}

class LlamaBlock final : public Block {
public:
  LlamaBlock(Loader& loader, const ModelConfig& c, int layer) : eps_(c.rms_norm_eps) {
    const std::string at = "model.layers." + std::to_string(layer) + ".";
    before_attention_ = loader.norm(at + "input_layernorm.weight", c.hidden, c.norm_offset);
    before_mlp_ = loader.norm(at + "post_attention_layernorm.weight", c.hidden, c.norm_offset);
    qkv_ = loader.qkv(at, c);
    out_ = loader.linear({{at + "self_attn.o_proj.weight", c.hidden}}, c.heads * c.head_dim);
    mlp_ = loader.gated_mlp(at, c);
    attention_ = {c.heads, c.kv_heads, c.head_dim, c.attention_scale, 0, 0};
  }

  void run(Tensor& residual, const Attend& attend) const override {
    add(residual, out_(attend(qkv_(rms_norm(residual, before_attention_, eps_)), attention_)));
    mlp_(rms_norm(residual, before_mlp_, eps_), [&](Index begin, Index end, const Tensor& fed) {
      Tensor rows = residual.slice(0, begin, end);
      add(rows, fed);
    });
  }

private:
  double eps_;
  AttentionSettings attention_;
  Tensor before_attention_, before_mlp_; ///< [d]
  Linear qkv_, out_;
  GatedMlp mlp_;
};

} // namespace

const Family llama_family{"llama",
                          {32000, 4096, 11008, 32, 32, 0, 0, 2048, false},
                          llama_keys,
                          read_llama_config,
                          [](Loader& loader, const ModelConfig& config, int layer) -> std::unique_ptr<Block> {
                            return std::make_unique<LlamaBlock>(loader, config, layer);
                          }};

} // namespace concord::model
