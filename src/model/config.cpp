#include "concord/model/config.hpp"

#include "concord/core/error.hpp"
#include "concord/core/text.hpp"
#include "concord/model/family.hpp"

#include "model/fields.hpp"

namespace concord::model {
namespace {

RopeScaling rope_scaling(const Fields& rope) {
  RopeScaling scaling;
  const auto type = rope.get_or<std::string>("rope_type", rope.get_or<std::string>("type", "default"));
  if (type == "default") return scaling;
  scaling.factor = rope.get<double>("factor");
  if (type == "linear") {
    scaling.kind = RopeScaling::Kind::linear;
  } else if (type == "llama3") {
    scaling.kind = RopeScaling::Kind::llama3;
    scaling.low_frequency_factor = rope.get<double>("low_freq_factor");
    scaling.high_frequency_factor = rope.get<double>("high_freq_factor");
    scaling.original_context = rope.get<double>("original_max_position_embeddings");
    require(scaling.high_frequency_factor > scaling.low_frequency_factor && scaling.low_frequency_factor > 0, ExitCode::bad_data,
            "{}: low_freq_factor and high_freq_factor are out of order", rope.file());
  } else {
    fail(ExitCode::bad_data, "{}: rope_type {} is not supported; concord knows default, linear and llama3", rope.file(), type);
  }
  require(scaling.factor >= 1, ExitCode::bad_data, "{}: the factor {} is below 1", rope.file(), scaling.factor);
  return scaling;
}

/// "rope_theta" and "rope_scaling" at the top (older style), or both inside "rope_parameters" (newer).
void read_rope(const Fields& fields, ModelConfig& config) {
  if (fields.has("rope_parameters")) {
    const Fields rope = fields.inside("rope_parameters");
    config.rope_theta = rope.get<double>("rope_theta");
    config.rope_scaling = rope_scaling(rope);
    return;
  }
  config.rope_theta = fields.get_or("rope_theta", 10000.0);
  if (fields.has("rope_scaling")) config.rope_scaling = rope_scaling(fields.inside("rope_scaling"));
}

void check(const ModelConfig& c, const std::string& file) {
  require(c.vocab > 0 && c.hidden > 0 && c.intermediate > 0 && c.layers > 0 && c.heads > 0 && c.kv_heads > 0 && c.head_dim > 0,
          ExitCode::bad_data, "{}: sizes must be positive", file);
  require(c.heads % c.kv_heads == 0, ExitCode::bad_data, "{}: {} attention heads cannot share {} key-value heads", file, c.heads,
          c.kv_heads);
  require(c.head_dim % 2 == 0, ExitCode::bad_data, "{}: head_dim {} is odd; rotary embedding needs pairs", file, c.head_dim);
}

} // namespace

const std::vector<const Family*>& families() {
  static const std::vector<const Family*> all{&gemma2_family, &llama_family};
  return all;
}

const Family& family_of(const std::string& name, const std::string& file) {
  std::vector<std::string> names;
  for (const Family* family : families()) {
    if (name == family->name) return *family;
    names.emplace_back(family->name);
  }
  fail(ExitCode::bad_data, "{}: model_type \"{}\" is not supported; concord runs {}", file, name, join(names, ", "));
}

ModelConfig read_config(const std::filesystem::path& folder) {
  require(std::filesystem::is_directory(folder), ExitCode::input_missing, "there is no model folder {}", folder.string());
  const std::string file = (folder / "config.json").string();
  const auto json = nlohmann::json::parse(read_text(file, "model config"), nullptr, false);
  require(json.is_object(), ExitCode::bad_data, "{} is not valid JSON", file);
  const Fields fields(json, file);
  ModelConfig config;
  config.family = fields.get<std::string>("model_type");
  const Family& family = family_of(config.family, file);
  config.vocab = fields.get<Index>("vocab_size");
  config.hidden = fields.get<Index>("hidden_size");
  config.intermediate = fields.get<Index>("intermediate_size");
  config.layers = fields.get<int>("num_hidden_layers");
  config.heads = fields.get<int>("num_attention_heads");
  config.kv_heads = fields.get_or<int>("num_key_value_heads", config.heads);
  config.head_dim = fields.get_or<Index>("head_dim", config.hidden / std::max(1, config.heads));
  config.rms_norm_eps = fields.get_or("rms_norm_eps", 1e-6);
  read_rope(fields, config);
  require(!fields.get_or("attention_bias", false), ExitCode::bad_data, "{}: attention_bias is not supported", file);
  config.sliding.assign(static_cast<std::size_t>(std::max(0, config.layers)), false);
  check(config, file);
  family.read_config(fields, config);
  return config;
}

} // namespace concord::model
