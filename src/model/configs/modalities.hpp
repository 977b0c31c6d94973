#pragma once
/// The language model inside a model of several modalities: its config lies in "text_config", its tensors behind a prefix. On text alone
/// its residual stream is what it is by itself; the head is the whole's and caps no logits. Local. Source: transformers 5.23.0, the config
/// and model classes of each name below.

#include "concord/core/fields.hpp"

#include <string>
#include <vector>

namespace concord::model {

/// The config of the language model.
struct LanguageModel {
  Fields fields;
  std::string family; ///< its model_type
  bool tied;          ///< as the whole's config says
  bool ties_as_text;  ///< or as the language model's does
  /// Whether the head is tied to the embedding, where the language model's config says `of_text`.
  bool ties(bool of_text) const { return tied || (ties_as_text && of_text); }
};

/// Whether a model_type names a model of several modalities whose language model is read.
bool has_modalities(const std::string& model_type);

/// Their names.
std::vector<std::string> models_of_modalities();

/// @param harmless  keys that cannot change the result, of any config. @throws Error bad_data naming the key.
LanguageModel language_model(const Fields& fields, const std::string& model_type, const std::vector<std::string>& harmless);

/// What a tensor of the language model, such as "model.norm.weight" or "lm_head.weight", may be called in files of the whole.
std::vector<std::string> names_in_modalities(const std::string& name);

} // namespace concord::model
