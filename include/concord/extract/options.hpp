#pragma once
/// Inputs and settings of an extraction.

#include "concord/extract/settings.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace concord::extract {

struct ExtractOptions : ExtractSettings {
  std::filesystem::path model;        ///< Hugging Face folder
  std::filesystem::path tokens;       ///< tokens.h5
  std::vector<int> layers;            ///< empty: all; L is the output of block L, -1 the embedding
  std::string stage_word = "extract"; ///< how progress names this run ("extract a")
  std::filesystem::path out;
  bool force = false;
};

/// "all" or "0,3,5" as layer numbers (empty: all). @throws Error usage.
std::vector<int> parse_layers(const std::string& text);

} // namespace concord::extract
