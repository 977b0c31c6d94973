#include "concord/model/config.hpp"

#include "concord/core/error.hpp"
#include "concord/core/fields.hpp"
#include "concord/core/text.hpp"
#include "concord/model/family.hpp"

#include "model/modalities.hpp"

namespace concord::model {
namespace {

/// Keys of PreTrainedConfig and of files in the wild that no family's forward pass reads, or that touch training, generation or
/// classification alone.
const std::vector<std::string>& harmless_keys() {
  static const std::vector<std::string> keys{"_attn_implementation",
                                             "_attn_implementation_autoset",
                                             "_flash_attn_2_enabled",
                                             "_name_or_path",
                                             "architectures",
                                             "attention_dropout",
                                             "auto_map",
                                             "bos_token_id",
                                             "cache_implementation",
                                             "chunk_size_feed_forward",
                                             "dtype",
                                             "eos_token_id",
                                             "id2label",
                                             "initializer_range",
                                             "is_encoder_decoder",
                                             "is_llama_config",
                                             "label2id",
                                             "max_position_embeddings",
                                             "max_sequence_length",
                                             "output_attentions",
                                             "output_hidden_states",
                                             "pad_token_id",
                                             "pretraining_tp",
                                             "problem_type",
                                             "return_dict",
                                             "torch_dtype",
                                             "transformers.js_config",
                                             "transformers_version",
                                             "unsloth_fixed",
                                             "unsloth_version",
                                             "use_cache"};
  return keys;
}

KeyTable keys_of(const Family& family) {
  KeyTable table;
  table.honoured = {"model_type",
                    "vocab_size",
                    "hidden_size",
                    "intermediate_size",
                    "num_hidden_layers",
                    "num_attention_heads",
                    "num_key_value_heads",
                    "head_dim",
                    "rms_norm_eps",
                    "rope_theta",
                    "rope_scaling",
                    "rope_parameters",
                    "original_max_position_embeddings",
                    "tie_word_embeddings"};
  table.fixed = {{"attention_bias", false, "biases of the attention, which is not supported", false},
                 {"partial_rotary_factor", 1.0, "rotary embedding of a part of each head"},
                 {"quantization_config", nullptr, "quantized weights; save the model in bf16, f16 or f32"},
                 {"text_config", nullptr, "a config inside the config, which this model_type has not"}};
  table.harmless = harmless_keys();
  const KeyTable own = family.keys();
  table.honoured.insert(table.honoured.end(), own.honoured.begin(), own.honoured.end());
  table.fixed.insert(table.fixed.end(), own.fixed.begin(), own.fixed.end());
  table.harmless.insert(table.harmless.end(), own.harmless.begin(), own.harmless.end());
  return table;
}

/// The length of the contexts before they were stretched: transformers prefers the key at the top, and falls back on the longest context.
double original_context(const Fields& fields, const Fields& rope, double longest) {
  const char* key = "original_max_position_embeddings";
  require(!fields.is_null(key), ExitCode::bad_data, "{}: {} is null", fields.file(), key);
  return fields.has(key) ? fields.get<double>(key) : rope.get_or(key, fields.get_or("max_position_embeddings", longest));
}

RopeScaling rope_scaling(const Fields& fields, const Fields& rope, double longest) {
  rope.check({{"rope_type", "type", "rope_theta", "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"},
              {{"partial_rotary_factor", 1.0, "rotary embedding of a part of each head"}},
              {}});
  RopeScaling scaling;
  const auto type = rope.get_or<std::string>("rope_type", rope.get_or<std::string>("type", "default"));
  if (type == "default") return scaling;
  const auto number = [&](const char* key) {
    require(rope.has(key), ExitCode::bad_data, "{} has no key {}, which the rope_type {} needs", rope.file(), key, type);
    return rope.get<double>(key);
  };
  if (type == "linear") {
    scaling.kind = RopeScaling::Kind::linear;
  } else if (type == "llama3") {
    scaling.kind = RopeScaling::Kind::llama3;
    scaling.low_frequency_factor = number("low_freq_factor");
    scaling.high_frequency_factor = number("high_freq_factor");
    scaling.original_context = original_context(fields, rope, longest);
    require(scaling.high_frequency_factor > scaling.low_frequency_factor && scaling.low_frequency_factor > 0, ExitCode::bad_data,
            "{}: low_freq_factor and high_freq_factor are out of order", rope.file());
    require(scaling.original_context > 0, ExitCode::bad_data, "{}: original_max_position_embeddings must be positive", rope.file());
  } else {
    fail(ExitCode::bad_data, "{}: rope_type {} is not supported; concord knows default, linear and llama3", rope.file(), type);
  }
  scaling.factor = number("factor");
  require(scaling.factor >= 1, ExitCode::bad_data, "{}: the factor {} is below 1", rope.file(), scaling.factor);
  return scaling;
}

/// "rope_theta" and "rope_scaling" at the top (older style), or both inside "rope_parameters" (newer). Where a file has both, transformers
/// lets a rope_scaling that is not empty win; a theta inside wins over one at the top.
void read_rope(const Fields& fields, ModelConfig& config, double longest) {
  Fields rope(nlohmann::json::object(), fields.file());
  for (const char* key : {"rope_parameters", "rope_scaling"})
    if (fields.has(key) && !fields.get<nlohmann::json>(key).empty()) rope = fields.inside(key);
  config.rope_theta = rope.get_or("rope_theta", fields.get_or("rope_theta", 10000.0));
  require(config.rope_theta > 0, ExitCode::bad_data, "{}: rope_theta must be positive", fields.file());
  config.rope_scaling = rope_scaling(fields, rope, longest);
}

void check(const ModelConfig& c, const std::string& file) {
  require(c.rms_norm_eps >= 0, ExitCode::bad_data, "{}: rms_norm_eps {} is negative", file, c.rms_norm_eps);
  constexpr Index most = 1 << 24; // products of two sizes fit into Index
  for (const auto& [key, size] :
       std::initializer_list<std::pair<const char*, Index>>{{"vocab_size", c.vocab},
                                                            {"hidden_size", c.hidden},
                                                            {"intermediate_size", c.intermediate},
                                                            {"num_hidden_layers", c.layers},
                                                            {"num_attention_heads", c.heads},
                                                            {"num_key_value_heads", c.kv_heads},
                                                            {"head_dim (hidden_size / num_attention_heads)", c.head_dim}})
    require(size > 0 && size < most, ExitCode::bad_data, "{}: {} must be positive and below {}, not {}", file, key, most, size);
  require(c.heads % c.kv_heads == 0, ExitCode::bad_data, "{}: the {} of num_attention_heads cannot share the {} of num_key_value_heads",
          file, c.heads, c.kv_heads);
  require(c.hidden % c.heads == 0, ExitCode::bad_data, "{}: hidden_size {} is no multiple of num_attention_heads {}", file, c.hidden,
          c.heads);
  require(c.head_dim % 2 == 0, ExitCode::bad_data,
          "{}: head_dim {} (hidden_size / num_attention_heads where it is missing) is odd; rotary embedding needs pairs", file, c.head_dim);
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
  fail(ExitCode::bad_data, "{}: model_type \"{}\" is not supported; concord runs {}, and these inside {}", file, name, join(names, ", "),
       join(models_of_modalities(), ", "));
}

ModelConfig read_config(const std::filesystem::path& folder) {
  require(std::filesystem::is_directory(folder), ExitCode::input_missing, "there is no model folder {}", folder.string());
  const Fields outer = Fields::read(folder / "config.json", "model config");
  const auto outer_type = outer.get<std::string>("model_type");
  std::optional<LanguageModel> inner;
  if (has_modalities(outer_type)) inner = language_model(outer, outer_type, harmless_keys());
  const Fields& fields = inner ? inner->fields : outer;
  const std::string& file = fields.file();
  ModelConfig config;
  config.family = inner ? fields.get_or<std::string>("model_type", "llama") : outer_type;
  const Family& family = family_of(config.family, file);
  fields.check(keys_of(family), " of model_type " + config.family);
  const Family::Defaults& defaults = family.defaults; // of the family's config class: a file may lack what equals them
  config.vocab = fields.get_or("vocab_size", defaults.vocab);
  config.hidden = fields.get_or("hidden_size", defaults.hidden);
  config.intermediate = fields.get_or("intermediate_size", defaults.intermediate);
  config.layers = fields.get_or("num_hidden_layers", defaults.layers);
  config.heads = fields.get_or("num_attention_heads", defaults.heads);
  config.kv_heads = defaults.kv_heads > 0 ? fields.get_or("num_key_value_heads", defaults.kv_heads)
                                          : fields.get_unless_null("num_key_value_heads", config.heads);
  config.head_dim = defaults.head_dim > 0 ? fields.get_or("head_dim", defaults.head_dim)
                                          : fields.get_unless_null("head_dim", config.hidden / std::max(1, config.heads));
  config.rms_norm_eps = fields.get_or("rms_norm_eps", 1e-6);
  config.tied_head = inner ? inner->tied_head : fields.get_or("tie_word_embeddings", defaults.tied_head);
  read_rope(fields, config, defaults.longest);
  check(config, file);
  config.sliding.assign(static_cast<std::size_t>(config.layers), false);
  family.read_config(fields, config);
  return config;
}

} // namespace concord::model
