#pragma once
/// Settings of an extraction.

#include "concord/core/dtype.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace concord::extract {

struct ExtractOptions {
  std::filesystem::path model;        ///< Hugging Face folder
  std::filesystem::path tokens;       ///< tokens.h5
  std::vector<int> layers;            ///< empty: all; L is the output of block L, -1 the embedding
  Dtype store = Dtype::bf16;          ///< type of the stored rows: f32, f16 or bf16
  Dtype compute = Dtype::f32;         ///< type of the forward pass: f32 or bf16
  Index batch = 32;                   ///< contexts in one forward pass; part of the result's identity
  bool loss = false;                  ///< also compute the mean next-token cross-entropy over the corpus
  int compress = 0;                   ///< level of deflate, 1 to 9, for the stored rows; 0: none
  int layer_shards = 1;               ///< ranks that share one copy of the model
  double commit_seconds = 10;         ///< time between commits of finished blocks
  double memory_gib = 0;              ///< what a rank may take; 0: what its node has, divided by the ranks there
  std::string device = "auto";        ///< "cpu", "cuda" or "auto"
  bool allow_shared_gpu = false;      ///< several ranks on one GPU
  std::string stage_word = "extract"; ///< how progress names this run ("extract a")
  std::filesystem::path out;
  bool force = false;
};

/// "all" or "0,3,5" as layer numbers (empty: all). @throws Error usage.
std::vector<int> parse_layers(const std::string& text);

} // namespace concord::extract
