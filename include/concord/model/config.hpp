#pragma once
/// Configuration of a language model as its Hugging Face `config.json` gives it. Local.

#include "concord/core/index.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace concord::model {

/// gelu: by the error function.
enum class Activation { gelu, gelu_tanh, silu };

/// How rotary frequencies are stretched for long contexts ("rope_type" of Hugging Face).
struct RopeScaling {
  enum class Kind { none, linear, llama3, longrope };
  Kind kind = Kind::none;
  double factor = 1;
  double low_frequency_factor = 1;  ///< llama3
  double high_frequency_factor = 4; ///< llama3
  double original_context = 8192;   ///< llama3, longrope
  double attention_factor = 1;      ///< longrope: what cosines and sines are multiplied by
  std::vector<double> factors;      ///< longrope: of each pair of columns, in contexts no longer than the original ones
};

/// Rotary embedding of some layers.
struct Rope {
  double theta = 10000;
  RopeScaling scaling;
  Index columns = 0; ///< of a head that are rotated; the others stay as they are
  /// An odd column has a pair, too, as in transformers.
  Index pairs() const { return (columns + 1) / 2; }
};

/// What the tensors outside of the blocks are called, without ".weight".
struct OuterNames {
  std::string embedding = "model.embed_tokens";
  std::string positions; ///< empty: no learned positions
  std::string final_norm = "model.norm";
  std::string head = "lm_head";
};

struct ModelConfig {
  std::string family; ///< "gemma2", "llama", ...
  OuterNames names;
  Index vocab = 0;
  Index hidden = 0;       ///< d, width of the residual stream
  Index intermediate = 0; ///< width of the MLP
  bool gated = true;      ///< the MLP has a gate
  int layers = 0;
  int heads = 0;
  int kv_heads = 0;
  Index head_dim = 0;
  double norm_eps = 1e-6;
  bool layer_norm = false;    ///< norms are LayerNorm, else RMSNorm
  double norm_offset = 0;     ///< RMSNorm multiplies by offset + weight (Gemma: 1)
  double embedding_scale = 1; ///< Gemma: sqrt(d)
  Activation activation = Activation::silu;
  Index positions = 0;             ///< learned ones; 0: none
  std::vector<Rope> ropes{Rope{}}; ///< that of all layers; if there is another, it is that of the sliding ones
  bool qkv_bias = false;           ///< queries, keys and values have biases
  bool out_bias = false;           ///< what attention gives has
  bool mlp_bias = false;
  double attention_scale = 1;  ///< factor of the attention scores
  bool scale_by_layer = false; ///< and by 1 / (1 + layer)
  bool parallel = false;       ///< the MLP reads what attention reads
  double attn_softcap = 0;     ///< 0: none
  double final_softcap = 0;    ///< 0: none
  Index sliding_window = 0;
  std::vector<bool> sliding; ///< per layer: attends only inside the window
  bool tied_head = true;
  Index longest = 0; ///< tokens that the model was made to see at once

  /// Columns of the joined query, key and value projection.
  Index qkv_width() const { return (heads + 2 * kv_heads) * head_dim; }
  /// Weights of one block's matrices.
  Index block_parameters() const { return hidden * (qkv_width() + heads * head_dim) + (gated ? 3 : 2) * hidden * intermediate; }
};

/// Reads `folder`/config.json, or of a model of several modalities the language model's part of it, by the rules of its family
/// (docs/formats.md).
/// @throws Error input_missing, or bad_data naming the key (another architecture, a missing or impossible value).
ModelConfig read_config(const std::filesystem::path& folder);

/// @throws Error bad_data where a context of so many tokens is longer than the model can be shown.
void require_context(const ModelConfig& config, Index tokens);

} // namespace concord::model
