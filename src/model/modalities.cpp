#include "model/modalities.hpp"

#include <algorithm>
#include <array>

namespace concord::model {
namespace {

/// Those whose language model attends as it does by itself. Others do not: PaliGemma attends both ways over the text.
struct Modalities {
  const char* model_type;
  bool ties_as_text; ///< a head that the language model's config ties is tied
};
constexpr std::array<Modalities, 7> known{{{"llava", true},
                                           {"llava_next", false},
                                           {"llava_next_video", true},
                                           {"video_llava", false},
                                           {"vipllava", false},
                                           {"idefics3", false},
                                           {"smolvlm", false}}};

/// Of images and videos, and how they enter; none of them touches text.
const std::vector<std::string>& keys_of_images() {
  static const std::vector<std::string> keys{"_pad_token_id",
                                             "ignore_index",
                                             "image_grid_pinpoints",
                                             "image_seq_length",
                                             "image_token_id",
                                             "image_token_index",
                                             "multimodal_projector_bias",
                                             "projector_hidden_act",
                                             "projector_layernorm_eps",
                                             "scale_factor",
                                             "spatial_pool_mode",
                                             "spatial_pool_stride",
                                             "use_image_newline_parameter",
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
  LanguageModel model{fields.inside("text_config"), fields.get_or("tie_word_embeddings", false)};
  const bool of_text = model.fields.get_or("tie_word_embeddings", false);
  model.tied_head = model.tied_head || (named(model_type)->ties_as_text && of_text);
  return model;
}

const std::vector<std::string>& body_prefixes() {
  static const std::vector<std::string> prefixes{"", "language_model.model.", "model.language_model.", "model.text_model."};
  return prefixes;
}

const std::vector<std::string>& head_prefixes() {
  static const std::vector<std::string> prefixes{"language_model."};
  return prefixes;
}

} // namespace concord::model
