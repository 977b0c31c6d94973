/// Gemma-2: RMSNorm with 1 + w before and behind attention and MLP, soft-capped attention scores, every other layer in a
/// sliding window, GeGLU (tanh), embedding scaled by sqrt(d), tied head with soft-capped logits.
/// Source: Hugging Face `Gemma2ForCausalLM`.
#include "concord/model/family.hpp"

#include "model/fields.hpp"
#include "model/loader.hpp"
#include <cmath>

namespace concord::model {

using at::Tensor;

namespace {

void read_sliding_layers(const Fields& fields, ModelConfig& config) {
  if (!fields.has("layer_types")) { // older style: every even layer slides
    for (std::size_t l = 0; l < config.sliding.size(); l += 2) config.sliding[l] = true;
    return;
  }
  const auto types = fields.get<std::vector<std::string>>("layer_types");
  require(types.size() == config.sliding.size(), ExitCode::bad_data, "{}: layer_types has {} entries for {} layers", fields.file(),
          types.size(), config.layers);
  for (std::size_t l = 0; l < types.size(); ++l) {
    require(types[l] == "sliding_attention" || types[l] == "full_attention", ExitCode::bad_data, "{}: unknown layer type {}", fields.file(),
            types[l]);
    config.sliding[l] = types[l] == "sliding_attention";
  }
}

void read_gemma2_config(const Fields& fields, ModelConfig& config) {
  require(config.rope_scaling.kind == RopeScaling::Kind::none, ExitCode::bad_data, "{}: rope scaling is not supported for Gemma-2",
          fields.file());
  config.norm_offset = 1;
  config.embedding_scale = std::sqrt(static_cast<double>(config.hidden));
  config.activation = Activation::gelu_tanh;
  const auto scalar = fields.get_or("query_pre_attn_scalar", static_cast<double>(config.head_dim));
  require(scalar > 0, ExitCode::bad_data, "{}: query_pre_attn_scalar must be positive", fields.file());
  config.attention_scale = 1.0 / std::sqrt(scalar);
  config.attn_softcap = fields.get_or("attn_logit_softcapping", 0.0);
  config.final_softcap = fields.get_or("final_logit_softcapping", 0.0);
  config.sliding_window = fields.get_or<Index>("sliding_window", 4096);
  require(config.sliding_window > 0, ExitCode::bad_data, "{}: sliding_window must be positive", fields.file());
  read_sliding_layers(fields, config);
  config.tied_head = fields.get_or("tie_word_embeddings", true);
  const auto activation = fields.get_or<std::string>("hidden_activation", "gelu_pytorch_tanh");
  require(activation == "gelu_pytorch_tanh", ExitCode::bad_data, "{}: hidden_activation {} is not supported", fields.file(), activation);
}

class Gemma2Block final : public Block {
public:
  Gemma2Block(Loader& loader, const ModelConfig& c, int layer) : eps_(c.rms_norm_eps) {
    const std::string at = "model.layers." + std::to_string(layer) + ".";
    before_attention_ = loader.norm(at + "input_layernorm.weight", c.hidden, c.norm_offset);
    behind_attention_ = loader.norm(at + "post_attention_layernorm.weight", c.hidden, c.norm_offset);
    before_mlp_ = loader.norm(at + "pre_feedforward_layernorm.weight", c.hidden, c.norm_offset);
    behind_mlp_ = loader.norm(at + "post_feedforward_layernorm.weight", c.hidden, c.norm_offset);
    qkv_ = loader.qkv(at, c);
    out_ = loader.linear({{at + "self_attn.o_proj.weight", c.hidden}}, c.heads * c.head_dim);
    mlp_ = loader.gated_mlp(at, c);
    attention_ = {c.heads,           c.kv_heads,     c.head_dim,
                  c.attention_scale, c.attn_softcap, c.sliding[static_cast<std::size_t>(layer)] ? c.sliding_window : 0};
  }

  void run(Tensor& residual, const Contexts& contexts) const override {
    add_normed(residual, out_(attend(qkv_(rms_norm(residual, before_attention_, eps_)), contexts, attention_)), behind_attention_, eps_);
    mlp_(rms_norm(residual, before_mlp_, eps_), [&](Index begin, Index end, const Tensor& fed) {
      Tensor rows = residual.slice(0, begin, end);
      add_normed(rows, fed, behind_mlp_, eps_);
    });
  }

private:
  double eps_;
  AttentionSettings attention_;
  Tensor before_attention_, behind_attention_, before_mlp_, behind_mlp_; ///< 1 + w, [d]
  Linear qkv_, out_;
  GatedMlp mlp_;
};

} // namespace

const Family gemma2_family{"gemma2", read_gemma2_config,
                           [](Loader& loader, const ModelConfig& config, int layer) -> std::unique_ptr<Block> {
                             return std::make_unique<Gemma2Block>(loader, config, layer);
                           }};

} // namespace concord::model
