#include "concord/model/config.hpp"

#include "concord/core/error.hpp"
#include "concord/core/fields.hpp"
#include "concord/core/text.hpp"
#include "concord/model/family.hpp"

#include "model/configs/modalities.hpp"
#include <optional>

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
  const Family::Keys& sizes = family.sizes;
  table.honoured = {"model_type",       "tie_word_embeddings", sizes.vocab, sizes.hidden,
                    sizes.intermediate, sizes.layers,          sizes.heads, sizes.norm_eps};
  if (sizes.of_llama)
    for (const char* key :
         {"num_key_value_heads", "head_dim", "rope_theta", "rope_scaling", "rope_parameters", "original_max_position_embeddings"})
      table.honoured.emplace_back(key);
  table.fixed = {{"quantization_config", nullptr, "quantized weights; save the model in bf16, f16 or f32"},
                 {"text_config", nullptr, "a config inside the config, which this model_type has not"}};
  table.harmless = harmless_keys();
  const KeyTable own = family.keys();
  table.honoured.insert(table.honoured.end(), own.honoured.begin(), own.honoured.end());
  table.fixed.insert(table.fixed.end(), own.fixed.begin(), own.fixed.end());
  table.harmless.insert(table.harmless.end(), own.harmless.begin(), own.harmless.end());
  return table;
}

void check(const ModelConfig& c, const Family::Keys& keys, const std::string& file) {
  require(c.norm_eps >= 0, ExitCode::bad_data, "{}: {} {} is negative", file, keys.norm_eps, c.norm_eps);
  constexpr Index most = 1 << 24; // products of two sizes fit into Index
  const auto head_dim = fmt::format("head_dim ({} / {})", keys.hidden, keys.heads);
  for (const auto& [key, size] : std::initializer_list<std::pair<const char*, Index>>{{keys.vocab, c.vocab},
                                                                                      {keys.hidden, c.hidden},
                                                                                      {keys.intermediate, c.intermediate},
                                                                                      {keys.layers, c.layers},
                                                                                      {keys.heads, c.heads},
                                                                                      {"num_key_value_heads", c.kv_heads},
                                                                                      {head_dim.c_str(), c.head_dim}})
    require(size > 0 && size < most, ExitCode::bad_data, "{}: {} must be positive and below {}, not {}", file, key, most, size);
  require(c.heads % c.kv_heads == 0, ExitCode::bad_data, "{}: the {} of num_attention_heads cannot share the {} of num_key_value_heads",
          file, c.heads, c.kv_heads);
  require(c.hidden % c.heads == 0, ExitCode::bad_data, "{}: {} {} is no multiple of {} {}", file, keys.hidden, c.hidden, keys.heads,
          c.heads);
}

void check(const Rope& rope, Index head_dim, const std::string& file) {
  require(rope.theta > 0, ExitCode::bad_data, "{}: rope_theta (rotary_emb_base, rope_local_base_freq) must be positive", file);
  require(2 * rope.pairs() <= head_dim, ExitCode::bad_data,
          "{}: head_dim {} (hidden_size / num_attention_heads where it is missing) is odd; rotary embedding needs pairs", file, head_dim);
}

} // namespace

const std::vector<const Family*>& families() {
  static const std::vector<const Family*> all{&gemma_family,    &gemma2_family, &gemma3_family,  &gpt2_family,
                                              &gpt_neox_family, &llama_family,  &mistral_family, &olmo2_family,
                                              &phi3_family,     &qwen2_family,  &qwen3_family};
  return all;
}

const Family& family_of(const std::string& name, const std::string& file) {
  std::vector<std::string> names;
  for (const Family* family : families()) {
    if (name == family->name) return *family;
    names.emplace_back(family->name);
  }
  fail(ExitCode::bad_data, "{}: model_type \"{}\" is not supported; concord runs {}, also inside {}", file, name, join(names, ", "),
       join(models_of_modalities(), ", "));
}

void require_context(const ModelConfig& config, Index tokens) {
  require(config.positions == 0 || tokens <= config.positions, ExitCode::bad_data,
          "a context of {} tokens is longer than the {} positions that the model has (n_positions); use shorter contexts", tokens,
          config.positions);
  for (const Rope& rope : config.ropes)
    require(rope.scaling.kind != RopeScaling::Kind::longrope || static_cast<double>(tokens) <= rope.scaling.original_context,
            ExitCode::bad_data,
            "a context of {} tokens is longer than the {} of original_max_position_embeddings; beyond them rotary embedding takes the "
            "long_factor, which is not supported; use shorter contexts",
            tokens, rope.scaling.original_context);
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
  config.family = inner ? inner->family : outer_type;
  const Family& family = family_of(config.family, file);
  fields.check(keys_of(family), " of model_type " + config.family);
  const Family::Defaults& defaults = family.defaults; // of the family's config class: a file may lack what equals them
  const Family::Keys& keys = family.sizes;
  config.vocab = fields.get_or(keys.vocab, defaults.vocab);
  config.hidden = fields.get_or(keys.hidden, defaults.hidden);
  config.intermediate = defaults.intermediate > 0 ? fields.get_or(keys.intermediate, defaults.intermediate)
                                                  : fields.get_unless_null(keys.intermediate, 4 * config.hidden);
  config.layers = fields.get_or(keys.layers, defaults.layers);
  config.heads = fields.get_or(keys.heads, defaults.heads);
  config.kv_heads = config.heads;
  config.head_dim = config.hidden / std::max(1, config.heads);
  if (keys.of_llama) {
    config.kv_heads = defaults.kv_heads > 0 ? fields.get_or("num_key_value_heads", defaults.kv_heads)
                                            : fields.get_unless_null("num_key_value_heads", config.heads);
    config.head_dim =
        defaults.head_dim > 0 ? fields.get_or("head_dim", defaults.head_dim) : fields.get_unless_null("head_dim", config.head_dim);
  }
  config.norm_eps = fields.get_or(keys.norm_eps, defaults.norm_eps);
  config.tied_head = fields.get_or("tie_word_embeddings", defaults.tied_head);
  if (inner) config.tied_head = inner->ties(config.tied_head);
  config.longest = fields.holds<Index>(keys.longest) ? fields.get<Index>(keys.longest) : defaults.longest;
  check(config, keys, file);
  config.sliding.assign(static_cast<std::size_t>(config.layers), false);
  family.read_rope(fields, config, defaults);
  for (const Rope& rope : config.ropes) check(rope, config.head_dim, file);
  family.read_config(fields, config);
  if (inner) config.final_softcap = 0; // the whole has a head of its own, without a cap
  return config;
}

} // namespace concord::model
