#pragma once
/// Configuration of a language model as its Hugging Face `config.json` gives it. Local.

#include "concord/core/index.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace concord::model {

enum class Activation { gelu_tanh, silu };

/// How rotary frequencies are stretched for long contexts ("rope_type" of Hugging Face).
struct RopeScaling {
  enum class Kind { none, linear, llama3 };
  Kind kind = Kind::none;
  double factor = 1;
  double low_frequency_factor = 1;  ///< llama3
  double high_frequency_factor = 4; ///< llama3
  double original_context = 8192;   ///< llama3
};

struct ModelConfig {
  std::string family; ///< "gemma2", "llama"
  Index vocab = 0;
  Index hidden = 0;       ///< d, width of the residual stream
  Index intermediate = 0; ///< width of the gated MLP
  int layers = 0;
  int heads = 0;
  int kv_heads = 0;
  Index head_dim = 0;
  double rms_norm_eps = 1e-6;
  double norm_offset = 0;     ///< RMSNorm multiplies by offset + weight (Gemma: 1)
  double embedding_scale = 1; ///< Gemma: sqrt(d)
  Activation activation = Activation::silu;
  double rope_theta = 10000.0;
  RopeScaling rope_scaling;
  double attention_scale = 1; ///< factor of the attention scores
  double attn_softcap = 0;    ///< 0: none
  double final_softcap = 0;   ///< 0: none
  Index sliding_window = 0;
  std::vector<bool> sliding; ///< per layer: attends only inside the window
  bool tied_head = true;

  /// Columns of the joined query, key and value projection.
  Index qkv_width() const { return (heads + 2 * kv_heads) * head_dim; }
  /// Weights of one block's matrices.
  Index block_parameters() const { return hidden * (qkv_width() + heads * head_dim) + 3 * hidden * intermediate; }
};

/// Reads `folder`/config.json by the rules of its family (docs/formats.md).
/// @throws Error input_missing, or bad_data naming the key (another architecture, a missing or impossible value).
ModelConfig read_config(const std::filesystem::path& folder);

} // namespace concord::model
