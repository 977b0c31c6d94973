/// Gemma-2: RMSNorm with 1 + w before and behind attention and MLP, soft-capped attention scores, every other layer in a
/// sliding window, GeGLU (tanh), embedding scaled by sqrt(d), tied head with soft-capped logits.
/// Source: Hugging Face `Gemma2ForCausalLM`.
#include "concord/model/family.hpp"

#include "model/loader.hpp"
#include <cmath>
#include <limits>

namespace concord::model {

using at::Tensor;

namespace {

KeyTable gemma2_keys() {
  return {
      {"hidden_activation", "query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping", "sliding_window", "layer_types"},
      {{"use_bidirectional_attention", false, "attention that sees later tokens"}},
      {"hidden_act", "sliding_window_size"}}; // older files have them beside those that Gemma2Config reads
}

void read_sliding_layers(const Fields& fields, ModelConfig& config) {
  if (!fields.has("layer_types")) { // older style: every even layer slides
    for (std::size_t l = 0; l < config.sliding.size(); l += 2) config.sliding[l] = true;
    return;
  }
  const auto types = fields.get<std::vector<std::string>>("layer_types");
  require(types.size() == config.sliding.size(), ExitCode::bad_data, "{}: layer_types has {} entries for num_hidden_layers {}",
          fields.file(), types.size(), config.layers);
  for (std::size_t l = 0; l < types.size(); ++l) {
    require(types[l] == "sliding_attention" || types[l] == "full_attention", ExitCode::bad_data, "{}: layer_types: unknown layer type {}",
            fields.file(), types[l]);
    config.sliding[l] = types[l] == "sliding_attention";
  }
}

/// Gemma2Config's default where the key is missing, no cap where it is null.
double softcap(const Fields& fields, const char* key, double fallback) {
  if (fields.is_null(key)) return 0;
  const auto cap = fields.get_or(key, fallback);
  require(cap > 0 && cap <= std::numeric_limits<float>::max(), ExitCode::bad_data,
          "{}: {} must be positive and within f32, or null for none", fields.file(), key);
  return cap;
}

void read_gemma2_config(const Fields& fields, ModelConfig& config) {
  require(config.rope_scaling.kind == RopeScaling::Kind::none, ExitCode::bad_data,
          "{}: rope_scaling (or rope_parameters with a rope_type) is not supported for Gemma-2", fields.file());
  config.norm_offset = 1;
  config.embedding_scale = std::sqrt(static_cast<double>(config.hidden));
  config.activation = Activation::gelu_tanh;
  const auto scalar = fields.get_or("query_pre_attn_scalar", 256.0);
  require(scalar > 0, ExitCode::bad_data, "{}: query_pre_attn_scalar must be positive", fields.file());
  config.attention_scale = 1.0 / std::sqrt(scalar);
  config.attn_softcap = softcap(fields, "attn_logit_softcapping", 50.0);
  config.final_softcap = softcap(fields, "final_logit_softcapping", 30.0);
  config.sliding_window = fields.whole_or("sliding_window", 4096, 1);
  read_sliding_layers(fields, config);
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

  void run(Tensor& residual, const Attend& attend) const override {
    add_normed(residual, out_(attend(qkv_(rms_norm(residual, before_attention_, eps_)), attention_)), behind_attention_, eps_);
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

const Family gemma2_family{"gemma2",
                           {256000, 2304, 9216, 26, 8, 4, 256, 8192, true},
                           gemma2_keys,
                           read_gemma2_config,
                           [](Loader& loader, const ModelConfig& config, int layer) -> std::unique_ptr<Block> {
                             return std::make_unique<Gemma2Block>(loader, config, layer);
                           }};

} // namespace concord::model
