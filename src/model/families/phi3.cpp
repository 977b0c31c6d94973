/// Phi-3, 3.5 and 4-mini: Llama with joined matrices, rotary embedding of a part of each head, and longrope. Source: Hugging Face
/// `Phi3ForCausalLM`.
#include "concord/model/family.hpp"

#include "model/configs/rope.hpp"
#include "model/configs/shared.hpp"
#include "model/loader.hpp"

namespace concord::model {
namespace {

KeyTable phi3_keys() {
  return {
      {"hidden_act", "sliding_window", "partial_rotary_factor"},
      {no_attention_bias(), {"mlp_bias", false, "biases of the MLP"}, {"lm_head_bias", false, "biases of the head"}},
      {"resid_pdrop", "embd_pdrop", "full_attn_mod", "interpolate_factor"}}; // the last two of Phi-4-mini, which transformers does not read
}

RopeScaling longrope(const Fields& fields, const Fields& rope, Index columns, Index longest) {
  RopeScaling scaling;
  scaling.kind = RopeScaling::Kind::longrope;
  scaling.factors = rope.get<std::vector<double>>("short_factor");
  const auto pairs = static_cast<std::size_t>((columns + 1) / 2);
  for (const auto& key : {"short_factor", "long_factor"})
    require(rope.get<std::vector<double>>(key).size() == pairs, ExitCode::bad_data,
            "{}: {} has not the {} numbers of a head's pairs (hidden_size / num_attention_heads or head_dim, times partial_rotary_factor)",
            rope.file(), key, pairs);
  for (const double factor : scaling.factors) require(factor > 0, ExitCode::bad_data, "{}: short_factor must be positive", rope.file());
  scaling.original_context = fields.get_or("original_max_position_embeddings", 4096.0);
  require(scaling.original_context > 1, ExitCode::bad_data, "{}: original_max_position_embeddings must be above 1", fields.file());
  const double factor =
      rope.get_unless_null("factor", fields.get_or("max_position_embeddings", static_cast<double>(longest)) / scaling.original_context);
  const double by_length = factor <= 1 ? 1 : std::sqrt(1 + std::log(factor) / std::log(scaling.original_context));
  scaling.attention_factor = rope.get_unless_null("attention_factor", by_length);
  return scaling;
}

/// "su" and "yarn" in older files mean longrope.
void read_phi3_rope(const Fields& fields, ModelConfig& config, const Family::Defaults& defaults) {
  const Fields rope = rope_object(fields);
  rope.check({{"rope_type", "type", "rope_theta", "partial_rotary_factor", "short_factor", "long_factor", "factor", "attention_factor"},
              {},
              {"original_max_position_embeddings"}}); // that at the top is read
  const auto type = rope.get_or<std::string>("rope_type", rope.get_or<std::string>("type", "default"));
  const double part = rope.get_or("partial_rotary_factor", fields.get_or("partial_rotary_factor", 1.0));
  const Index columns = rotated_columns(fields, config, part);
  require(type == "default" || type == "longrope" || type == "su" || type == "yarn", ExitCode::bad_data,
          "{}: rope_type {} is not supported for Phi-3", rope.file(), type);
  config.ropes = {{rope.get_or("rope_theta", fields.get_or("rope_theta", defaults.rope_theta)),
                   type == "default" ? RopeScaling{} : longrope(fields, rope, columns, defaults.longest), columns}};
}

void read_phi3_config(const Fields& fields, ModelConfig& config) {
  read_silu(fields, config);
  scale_by_head(config);
  if (fields.has("sliding_window")) read_window_of_all(fields, config, 0);
}

std::unique_ptr<Block> load_phi3_block(Loader& loader, int layer) {
  const ModelConfig& c = loader.config();
  const std::string name = layer_name(layer);
  const std::string both = name + "mlp.gate_up_proj";
  BlockParts parts;
  parts.before_attention = loader.rms_norm(name + "input_layernorm");
  parts.before_mlp = loader.rms_norm(name + "post_attention_layernorm");
  parts.qkv = loader.linear({{name + "self_attn.qkv_proj", c.qkv_width()}}, c.hidden);
  parts.out = loader.linear({{name + "self_attn.o_proj", c.hidden}}, c.heads * c.head_dim);
  parts.mlp = {loader.linear({{both, c.intermediate, 0, 2 * c.intermediate}}, c.hidden),
               loader.linear({{both, c.intermediate, c.intermediate, 2 * c.intermediate}}, c.hidden),
               loader.linear({{name + "mlp.down_proj", c.hidden}}, c.intermediate), c.activation};
  parts.attention = loader.attention(layer);
  return std::make_unique<DecoderBlock>(std::move(parts));
}

} // namespace

const Family phi3_family{"phi3",         {32064, 3072, 8192, 32, 32, 0, 0, 4096, false, 1e-5}, phi3_keys, read_phi3_rope, read_phi3_config,
                         load_phi3_block};

} // namespace concord::model
