#include "model/configs/modalities.hpp"

#include <algorithm>
#include <array>
#include <string_view>

namespace concord::model {
namespace {

/// Those whose language model attends as it does by itself. Others do not: PaliGemma attends both ways over the text.
struct Modalities {
  const char* model_type;
  bool ties_as_text;          ///< a head that the language model's config ties is tied
  bool ties = false;          ///< where the key is missing
  const char* text = "llama"; ///< the language model's model_type where the key is missing
};
constexpr std::array<Modalities, 8> known{{{"gemma3", false, true, "gemma3_text"},
                                           {"llava", true},
                                           {"llava_next", false},
                                           {"llava_next_video", true},
                                           {"video_llava", false},
                                           {"vipllava", false},
                                           {"idefics3", false},
                                           {"smolvlm", false}}};

/// Of images and videos, and how they enter; none of them touches text.
const std::vector<std::string>& keys_of_images() {
  static const std::vector<std::string> keys{"_pad_token_id",
                                             "boi_token_index",
                                             "eoi_token_index",
                                             "ignore_index",
                                             "image_grid_pinpoints",
                                             "image_seq_length",
                                             "image_token_id",
                                             "image_token_index",
                                             "mm_tokens_per_image",
                                             "multimodal_projector_bias",
                                             "projector_hidden_act",
                                             "projector_layernorm_eps",
                                             "scale_factor",
                                             "spatial_pool_mode",
                                             "spatial_pool_out_channels",
                                             "spatial_pool_stride",
                                             "use_image_newline_parameter",
                                             "use_reentrant_checkpointing",
                                             "video_seq_length",
                                             "video_token_index",
                                             "vision_config",
                                             "vision_feature_layer",
                                             "vision_feature_layers",
                                             "vision_feature_select_strategy",
                                             "vocab_size"}; // the language model's is read
  return keys;
}

auto named(const std::string& model_type) {
  return std::ranges::find(known, model_type, &Modalities::model_type);
}

} // namespace

bool has_modalities(const std::string& model_type) {
  return named(model_type) != known.end();
}

std::vector<std::string> models_of_modalities() {
  std::vector<std::string> names;
  for (const auto& of : known) names.emplace_back(of.model_type);
  return names;
}

LanguageModel language_model(const Fields& fields, const std::string& model_type, const std::vector<std::string>& harmless) {
  KeyTable keys{{"model_type", "text_config", "tie_word_embeddings"},
                {{"quantization_config", nullptr, "quantized weights; save the model in bf16, f16 or f32"}},
                harmless};
  keys.harmless.insert(keys.harmless.end(), keys_of_images().begin(), keys_of_images().end());
  fields.check(keys, " of model_type " + model_type);
  require(fields.has("text_config"), ExitCode::bad_data, "{} has no text_config, so it does not say what its language model is",
          fields.file());
  const Modalities& of = *named(model_type);
  LanguageModel model{fields.inside("text_config"), "", fields.get_or("tie_word_embeddings", of.ties), of.ties_as_text};
  model.family = model.fields.get_or<std::string>("model_type", of.text);
  return model;
}

std::vector<std::string> names_in_modalities(const std::string& name) {
  constexpr std::string_view body = "model.";
  if (!name.starts_with(body)) return {"language_model." + name};
  std::vector<std::string> names;
  // The last two are those of a whole that was saved without its head.
  for (const char* prefix : {"language_model.model.", "model.language_model.", "model.text_model.", "language_model.", "text_model."})
    names.push_back(prefix + name.substr(body.size()));
  return names;
}

} // namespace concord::model
