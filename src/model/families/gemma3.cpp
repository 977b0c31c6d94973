/// Gemma 3: Gemma-2 with norms of each head's queries and keys instead of soft-caps; five of six layers slide, with a rotary embedding of
/// their own. Source: Hugging Face `Gemma3ForCausalLM`.
#include "concord/model/family.hpp"

#include "model/blocks/four_norms.hpp"
#include "model/configs/rope.hpp"
#include "model/configs/shared.hpp"

namespace concord::model {
namespace {

KeyTable gemma3_keys() {
  return {
      {"attention_bias", "hidden_activation", "query_pre_attn_scalar", "final_logit_softcapping", "sliding_window",
       "sliding_window_pattern", "layer_types", "rope_local_base_freq"},
      {whole_heads_rotate(), no_later_tokens(), {"attn_logit_softcapping", nullptr, "soft-caps of scores, which transformers leaves out"}},
      {"hidden_act", "_sliding_window_pattern"}};
}

/// The newer style has an object for each type of layers; the older one a theta for each, and a scaling of full layers, whose "type"
/// transformers does not read.
void read_gemma3_rope(const Fields& fields, ModelConfig& config, const Family::Defaults& defaults) {
  const Fields none(nlohmann::json::object(), fields.file());
  const Fields all = fields.has("rope_parameters") ? fields.inside("rope_parameters") : none;
  all.check({{"full_attention", "sliding_attention"}, {}, {}}, " of rope_parameters in model_type gemma3_text");
  const bool scaled = fields.has("rope_scaling");
  require(!scaled || !fields.has("rope_parameters"), ExitCode::bad_data,
          "{}: rope_scaling and rope_parameters say the same twice; leave one out", fields.file());
  const auto rope = [&](const Fields& own, const char* old_key, double theta) {
    require(own.has("rope_type") || !own.has("type"), ExitCode::bad_data, "{}: transformers reads rope_type here, and no type", own.file());
    const Fields top = fields.without("original_max_position_embeddings"); // which transformers reads inside alone
    return Rope{own.get_or("rope_theta", fields.get_or(old_key, theta)), rope_scaling(top, own, defaults.longest), config.head_dim};
  };
  const auto of_type = [&](const char* type) { return all.has(type) ? all.inside(type) : none; };
  config.ropes = {rope(scaled ? fields.inside("rope_scaling") : of_type("full_attention"), "rope_theta", 1e6),
                  rope(of_type("sliding_attention"), "rope_local_base_freq", 1e4)};
}

void read_gemma3_config(const Fields& fields, ModelConfig& config) {
  read_gemma(config);
  read_gemma_attention(fields, config);
  read_attention_bias(fields, config);
  config.final_softcap = read_softcap(fields, "final_logit_softcapping", 0);
  const auto pattern = static_cast<std::size_t>(fields.whole_or("sliding_window_pattern", 6, 1));
  if (read_layer_types(fields, config)) return;
  for (std::size_t l = 0; l < config.sliding.size(); ++l) config.sliding[l] = (l + 1) % pattern != 0;
}

std::unique_ptr<Block> load_gemma3_block(Loader& loader, int layer) {
  BlockParts parts = four_norm_parts(loader, layer);
  parts.queries = loader.rms_norm(layer_name(layer) + "self_attn.q_norm", loader.config().head_dim);
  parts.keys = loader.rms_norm(layer_name(layer) + "self_attn.k_norm", loader.config().head_dim);
  return std::make_unique<DecoderBlock>(std::move(parts));
}

} // namespace

const Family gemma3_family{
    "gemma3_text", {262208, 2304, 9216, 26, 8, 4, 256, 131072, true}, gemma3_keys, read_gemma3_rope, read_gemma3_config, load_gemma3_block};

} // namespace concord::model
