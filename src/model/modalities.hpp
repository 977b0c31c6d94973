#pragma once
/// The language model inside a model of several modalities: its config lies in "text_config", its tensors behind a prefix. On text alone it
/// computes what it computes by itself. Local. Source: transformers 5.23.0, the config and model classes of each name below.

#include "concord/core/fields.hpp"

#include <string>
#include <vector>

namespace concord::model {

/// The config of the language model, and whether its head is tied to its embedding.
struct LanguageModel {
  Fields fields;
  bool tied_head;
};

/// Whether a model_type names a model of several modalities whose language model is read.
bool has_modalities(const std::string& model_type);

/// Their names.
std::vector<std::string> models_of_modalities();

/// @param harmless  keys that cannot change the result, of any config. @throws Error bad_data naming the key.
LanguageModel language_model(const Fields& fields, const std::string& model_type, const std::vector<std::string>& harmless);

/// What the names of the language model's tensors may begin with instead of "model.", and instead of nothing in front of "lm_head.".
const std::vector<std::string>& body_prefixes();
const std::vector<std::string>& head_prefixes();

} // namespace concord::model
