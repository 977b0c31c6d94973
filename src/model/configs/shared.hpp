#pragma once
/// What configs of several families have in common. Local.

#include "concord/core/fields.hpp"
#include "concord/model/config.hpp"

#include <cmath>

namespace concord::model {

/// Keys that must be as every file has them whose family does not know them.
inline KeyTable::Fixed whole_heads_rotate() {
  return {"partial_rotary_factor", 1.0, "rotary embedding of a part of each head"};
}
inline KeyTable::Fixed no_attention_bias() {
  return {"attention_bias", false, "biases of the attention, which this model_type has not", false};
}
inline KeyTable::Fixed no_later_tokens() {
  return {"use_bidirectional_attention", false, "attention that sees later tokens"};
}

/// Scores are divided by the root of a head's columns.
inline void scale_by_head(ModelConfig& config) {
  config.attention_scale = 1.0 / std::sqrt(static_cast<double>(config.head_dim));
}

/// SiLU under "hidden_act". @throws Error bad_data for another.
void read_silu(const Fields& fields, ModelConfig& config);

/// GELU under `key`: "gelu" by the error function, "gelu_new", "gelu_fast" and "gelu_pytorch_tanh" in the tanh form. @throws Error bad_data
/// for another.
void read_gelu(const Fields& fields, const char* key, const char* fallback, ModelConfig& config);

/// RMSNorm with 1 + w, the tanh form of GELU, embeddings times the root of d. Of the Gemmas.
void read_gemma(ModelConfig& config);

/// "final_logit_softcapping" and its like: `fallback` where the key is missing (0: none), none where it is null.
double read_softcap(const Fields& fields, const char* key, double fallback);

/// "query_pre_attn_scalar", the window, and the activation. Of Gemma 2 and 3.
void read_gemma_attention(const Fields& fields, ModelConfig& config);

/// Biases of queries, keys, values and of what attention gives, as "attention_bias" says; none where the key is missing.
void read_attention_bias(const Fields& fields, ModelConfig& config);

/// A window for every layer under "sliding_window"; none where it is null.
void read_window_of_all(const Fields& fields, ModelConfig& config, Index fallback);

/// Which layers slide, under "layer_types". False where the key is missing. @throws Error bad_data where it is no list of layers' types.
bool read_layer_types(const Fields& fields, ModelConfig& config);

/// "sliding_window", "use_sliding_window", "max_window_layers" and "layer_types" of the Qwens.
void read_qwen_window(const Fields& fields, ModelConfig& config);

} // namespace concord::model
