#pragma once
/// Configuration of a Gemma-2 model as its Hugging Face `config.json` gives it. Local.

#include "concord/core/index.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace concord::model {

struct ModelConfig {
  Index vocab = 0;
  Index hidden = 0;       ///< d, width of the residual stream
  Index intermediate = 0; ///< width of the gated MLP
  int layers = 0;
  int heads = 0;
  int kv_heads = 0;
  Index head_dim = 0;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000.0;
  double query_pre_attn_scalar = 0; ///< attention scores are scaled by its inverse square root
  double attn_softcap = 0;          ///< 0: none
  double final_softcap = 0;         ///< 0: none
  Index sliding_window = 0;
  std::vector<bool> sliding; ///< per layer: attends only inside the window
  bool tied_head = true;
};

/// Reads `folder`/config.json, with `rope_theta` at the top (older style) or inside `rope_parameters` (newer).
/// @throws Error input_missing, or bad_data naming the key (another architecture, a missing or impossible value).
ModelConfig read_config(const std::filesystem::path& folder);

} // namespace concord::model
