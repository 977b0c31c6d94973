#include "concord/model/config.hpp"

#include "concord/core/error.hpp"
#include "concord/core/text.hpp"

#include <nlohmann/json.hpp>

namespace concord::model {
namespace {

using Json = nlohmann::json;

/// Typed access to a JSON object whose complaints name the file and the key.
class Fields {
public:
  Fields(Json json, std::string file) : json_(std::move(json)), file_(std::move(file)) {}
  bool has(const char* key) const { return json_.contains(key) && !json_[key].is_null(); }
  template <typename T>
  T get(const char* key) const {
    require(has(key), ExitCode::bad_data, "{} has no key {}", file_, key);
    try {
      return json_[key].get<T>();
    } catch (const Json::exception&) {
      fail(ExitCode::bad_data, "{}: the value of {} has the wrong type: {}", file_, key, json_[key].dump());
    }
  }
  template <typename T>
  T get_or(const char* key, T fallback) const {
    return has(key) ? get<T>(key) : fallback;
  }
  const Json& json() const { return json_; }

private:
  Json json_;
  std::string file_;
};

double rope_theta(const Fields& fields, const std::string& file) {
  if (!fields.has("rope_parameters")) {
    require(!fields.has("rope_scaling"), ExitCode::bad_data, "{}: rope_scaling is not supported for Gemma-2", file);
    return fields.get_or("rope_theta", 10000.0);
  }
  const Fields rope(fields.json()["rope_parameters"], file + ": rope_parameters");
  const auto type = rope.get_or<std::string>("rope_type", "default");
  require(type == "default", ExitCode::bad_data, "{}: rope_type {} is not supported for Gemma-2", file, type);
  return rope.get<double>("rope_theta");
}

std::vector<bool> sliding_layers(const Fields& fields, int layers, const std::string& file) {
  std::vector<bool> sliding;
  if (!fields.has("layer_types")) { // older style: every even layer slides
    for (int l = 0; l < layers; ++l) sliding.push_back(l % 2 == 0);
    return sliding;
  }
  for (const auto& type : fields.get<std::vector<std::string>>("layer_types")) {
    require(type == "sliding_attention" || type == "full_attention", ExitCode::bad_data, "{}: unknown layer type {}", file, type);
    sliding.push_back(type == "sliding_attention");
  }
  require(static_cast<int>(sliding.size()) == layers, ExitCode::bad_data, "{}: layer_types has {} entries for {} layers", file,
          sliding.size(), layers);
  return sliding;
}

void check(const ModelConfig& c, const std::string& file) {
  require(c.vocab > 0 && c.hidden > 0 && c.intermediate > 0 && c.layers > 0 && c.heads > 0 && c.kv_heads > 0 && c.head_dim > 0,
          ExitCode::bad_data, "{}: sizes must be positive", file);
  require(c.heads % c.kv_heads == 0, ExitCode::bad_data, "{}: {} attention heads cannot share {} key-value heads", file, c.heads,
          c.kv_heads);
  require(c.head_dim % 2 == 0, ExitCode::bad_data, "{}: head_dim {} is odd; rotary embedding needs pairs", file, c.head_dim);
}

} // namespace

ModelConfig read_config(const std::filesystem::path& folder) {
  require(std::filesystem::is_directory(folder), ExitCode::input_missing, "there is no model folder {}", folder.string());
  const std::string file = (folder / "config.json").string();
  const Json json = Json::parse(read_text(file, "model config"), nullptr, false);
  require(json.is_object(), ExitCode::bad_data, "{} is not valid JSON", file);
  const Fields fields(json, file);
  const auto type = fields.get<std::string>("model_type");
  require(type == "gemma2", ExitCode::bad_data, "{}: model_type \"{}\" is not supported; concord runs gemma2", file, type);
  ModelConfig config;
  config.vocab = fields.get<Index>("vocab_size");
  config.hidden = fields.get<Index>("hidden_size");
  config.intermediate = fields.get<Index>("intermediate_size");
  config.layers = fields.get<int>("num_hidden_layers");
  config.heads = fields.get<int>("num_attention_heads");
  config.kv_heads = fields.get<int>("num_key_value_heads");
  config.head_dim = fields.get_or<Index>("head_dim", config.hidden / std::max(1, config.heads));
  config.rms_norm_eps = fields.get_or("rms_norm_eps", 1e-6);
  config.rope_theta = rope_theta(fields, file);
  config.query_pre_attn_scalar = fields.get_or("query_pre_attn_scalar", static_cast<double>(config.head_dim));
  config.attn_softcap = fields.get_or("attn_logit_softcapping", 0.0);
  config.final_softcap = fields.get_or("final_logit_softcapping", 0.0);
  config.sliding_window = fields.get_or<Index>("sliding_window", 4096);
  config.sliding = sliding_layers(fields, config.layers, file);
  config.tied_head = fields.get_or("tie_word_embeddings", true);
  const auto activation = fields.get_or<std::string>("hidden_activation", "gelu_pytorch_tanh");
  require(activation == "gelu_pytorch_tanh", ExitCode::bad_data, "{}: hidden_activation {} is not supported", file, activation);
  require(!fields.get_or("attention_bias", false), ExitCode::bad_data, "{}: attention_bias is not supported", file);
  check(config, file);
  return config;
}

} // namespace concord::model
