#include "model/configs/shared.hpp"

#include <limits>

namespace concord::model {

void read_silu(const Fields& fields, ModelConfig& config) {
  config.activation = Activation::silu;
  const auto activation = fields.get_or<std::string>("hidden_act", "silu");
  require(activation == "silu", ExitCode::bad_data, "{}: hidden_act {} is not supported in model_type {}", fields.file(), activation,
          config.family);
}

void read_gelu(const Fields& fields, const char* key, const char* fallback, ModelConfig& config) {
  const auto activation = fields.get_or<std::string>(key, fallback);
  require(activation == "gelu" || activation == "gelu_new" || activation == "gelu_fast" || activation == "gelu_pytorch_tanh",
          ExitCode::bad_data, "{}: {} {} is not supported", fields.file(), key, activation);
  config.activation = activation == "gelu" ? Activation::gelu : Activation::gelu_tanh;
}

void read_gemma(ModelConfig& config) {
  config.norm_offset = 1;
  config.embedding_scale = std::sqrt(static_cast<double>(config.hidden));
  config.activation = Activation::gelu_tanh;
}

double read_softcap(const Fields& fields, const char* key, double fallback) {
  if (fields.is_null(key) || (!fields.has(key) && fallback == 0)) return 0;
  const auto cap = fields.get_or(key, fallback);
  require(cap > 0 && cap <= std::numeric_limits<float>::max(), ExitCode::bad_data,
          "{}: {} must be positive and within f32, or null for none", fields.file(), key);
  return cap;
}

void read_gemma_attention(const Fields& fields, ModelConfig& config) {
  const auto scalar = fields.get_or("query_pre_attn_scalar", 256.0);
  require(scalar > 0, ExitCode::bad_data, "{}: query_pre_attn_scalar must be positive", fields.file());
  config.attention_scale = 1.0 / std::sqrt(scalar);
  config.sliding_window = fields.whole_or("sliding_window", 4096, 1);
  const auto activation = fields.get_or<std::string>("hidden_activation", "gelu_pytorch_tanh");
  require(activation == "gelu_pytorch_tanh", ExitCode::bad_data, "{}: hidden_activation {} is not supported", fields.file(), activation);
}

void read_attention_bias(const Fields& fields, ModelConfig& config) {
  config.qkv_bias = config.out_bias = fields.get_or("attention_bias", false);
}

void read_window_of_all(const Fields& fields, ModelConfig& config, Index fallback) {
  if (fields.is_null("sliding_window")) return;
  config.sliding_window = fields.whole_or("sliding_window", fallback, 1);
  config.sliding.assign(config.sliding.size(), true);
}

bool read_layer_types(const Fields& fields, ModelConfig& config) {
  if (!fields.has("layer_types")) return false;
  const auto types = fields.get<std::vector<std::string>>("layer_types");
  require(types.size() == config.sliding.size(), ExitCode::bad_data, "{}: layer_types has {} entries for num_hidden_layers {}",
          fields.file(), types.size(), config.layers);
  for (std::size_t l = 0; l < types.size(); ++l) {
    require(types[l] == "sliding_attention" || types[l] == "full_attention", ExitCode::bad_data, "{}: layer_types: unknown layer type {}",
            fields.file(), types[l]);
    config.sliding[l] = types[l] == "sliding_attention";
  }
  return true;
}

void read_qwen_window(const Fields& fields, ModelConfig& config) {
  const bool used = fields.get_or("use_sliding_window", false) && !fields.is_null("sliding_window");
  const Index window = fields.is_null("sliding_window") ? 0 : fields.whole_or("sliding_window", 4096, 1);
  const Index first = fields.whole_or("max_window_layers", 28, 0);
  if (!read_layer_types(fields, config) && used)
    for (std::size_t l = static_cast<std::size_t>(first); l < config.sliding.size(); ++l) config.sliding[l] = true;
  if (used) config.sliding_window = window;
  for (const bool slides : config.sliding)
    require(!slides || used, ExitCode::bad_data,
            "{}: layer_types has sliding layers, but use_sliding_window and sliding_window name no window", fields.file());
}

} // namespace concord::model
