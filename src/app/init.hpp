#pragma once
// `concord init`: a study of two models, written by looking at them. Local.

#include <filesystem>
#include <string>

namespace concord::app {

struct InitOptions {
  std::filesystem::path model_a; ///< Hugging Face folders
  std::filesystem::path model_b;
  std::string corpus; ///< a text file, a folder, or a pattern
  std::filesystem::path out = "study.toml";
  bool force = false; ///< replace it
};

/// The study as TOML with comments: names, layers, tokenizer, sizes and SAEs that fit the models and the corpus.
/// @throws Error input_missing or bad_data where a model, its tokenizer or the corpus cannot be read.
std::string study_for(const InitOptions& options);

/// Writes it to `options.out`. @throws Error as study_for(); usage where the file is there, unless `force`; io.
void write_study(const InitOptions& options);

} // namespace concord::app
