// Configs with the keys that their makers publish: each is known, and the sizes are read.
#include "concord/model/config.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace concord::model {
namespace {

struct Published {
  const char* name;
  const char* config;
  Index hidden;
  int layers;
  Index head_dim;
  Index rotated; ///< columns of a head
};

const Published published[]{
    {"pythia-70m",
     R"({"architectures":["GPTNeoXForCausalLM"],"bos_token_id":0,"eos_token_id":0,"hidden_act":"gelu","hidden_size":512,"initializer_range":0.02,
         "intermediate_size":2048,"layer_norm_eps":1e-05,"max_position_embeddings":2048,"model_type":"gpt_neox","num_attention_heads":8,
         "num_hidden_layers":6,"rotary_emb_base":10000,"rotary_pct":0.25,"tie_word_embeddings":false,"torch_dtype":"float16",
         "transformers_version":"4.24.0","use_cache":true,"use_parallel_residual":true,"vocab_size":50304})",
     512, 6, 64, 16},
    {"gpt2",
     R"({"activation_function":"gelu_new","architectures":["GPT2LMHeadModel"],"attn_pdrop":0.1,"bos_token_id":50256,"embd_pdrop":0.1,
         "eos_token_id":50256,"initializer_range":0.02,"layer_norm_epsilon":1e-05,"model_type":"gpt2","n_ctx":1024,"n_embd":768,"n_head":12,
         "n_layer":12,"n_positions":1024,"resid_pdrop":0.1,"summary_activation":null,"summary_first_dropout":0.1,
         "summary_proj_to_labels":true,"summary_type":"cls_index","summary_use_proj":true,
         "task_specific_params":{"text-generation":{"do_sample":true,"max_length":50}},"vocab_size":50257})",
     768, 12, 64, 0},
    {"Qwen2.5-0.5B",
     R"({"architectures":["Qwen2ForCausalLM"],"attention_dropout":0.0,"bos_token_id":151643,"eos_token_id":151643,"hidden_act":"silu",
         "hidden_size":896,"initializer_range":0.02,"intermediate_size":4864,"max_position_embeddings":32768,"max_window_layers":24,
         "model_type":"qwen2","num_attention_heads":14,"num_hidden_layers":24,"num_key_value_heads":2,"rms_norm_eps":1e-06,
         "rope_theta":1000000.0,"sliding_window":32768,"tie_word_embeddings":true,"torch_dtype":"bfloat16","transformers_version":"4.40.1",
         "use_cache":true,"use_mrope":false,"use_sliding_window":false,"vocab_size":151936})",
     896, 24, 64, 64},
    {"gemma-3-4b-it",
     R"({"architectures":["Gemma3ForConditionalGeneration"],"boi_token_index":255999,"eoi_token_index":256000,"eos_token_id":[1,106],
         "image_token_index":262144,"initializer_range":0.02,"mm_tokens_per_image":256,"model_type":"gemma3","text_config":{"hidden_size":2560,
         "intermediate_size":10240,"model_type":"gemma3_text","num_hidden_layers":34,"rope_scaling":{"factor":8.0,"rope_type":"linear"},
         "sliding_window":1024},"torch_dtype":"bfloat16","transformers_version":"4.50.0.dev0","vision_config":{"hidden_size":1152}})",
     2560, 34, 256, 256},
    {"Phi-4-mini-instruct, with two factors for its 48",
     R"({"architectures":["Phi3ForCausalLM"],"attention_bias":false,"attention_dropout":0.0,"auto_map":{"AutoConfig":"configuration_phi3.Phi3Config"},
         "bos_token_id":199999,"embd_pdrop":0.0,"eos_token_id":199999,"full_attn_mod":1,"hidden_act":"silu","hidden_size":8,
         "initializer_range":0.02,"intermediate_size":8192,"interpolate_factor":1,"lm_head_bias":false,"max_position_embeddings":131072,
         "mlp_bias":false,"model_type":"phi3","num_attention_heads":1,"num_hidden_layers":32,"num_key_value_heads":1,
         "original_max_position_embeddings":4096,"pad_token_id":199999,"partial_rotary_factor":0.5,"resid_pdrop":0.0,"rms_norm_eps":1e-05,
         "rope_scaling":{"long_factor":[1,2],"short_factor":[1.0,1.0],"type":"longrope"},"rope_theta":10000.0,"sliding_window":262144,
         "tie_word_embeddings":true,"torch_dtype":"bfloat16","transformers_version":"4.45.0","use_cache":true,"vocab_size":200064})",
     8, 32, 8, 4},
    {"Mistral-7B-v0.1",
     R"({"architectures":["MistralForCausalLM"],"bos_token_id":1,"eos_token_id":2,"hidden_act":"silu","hidden_size":4096,
         "initializer_range":0.02,"intermediate_size":14336,"max_position_embeddings":32768,"model_type":"mistral","num_attention_heads":32,
         "num_hidden_layers":32,"num_key_value_heads":8,"rms_norm_eps":1e-05,"rope_theta":10000.0,"sliding_window":4096,
         "tie_word_embeddings":false,"torch_dtype":"bfloat16","transformers_version":"4.34.0.dev0","use_cache":true,"vocab_size":32000})",
     4096, 32, 128, 128}};

TEST(PublishedConfigs, AreRead) {
  for (const auto& model : published) {
    const auto folder = std::filesystem::path("scratch") / "published";
    std::filesystem::create_directories(folder);
    std::ofstream(folder / "config.json") << model.config;
    const auto config = read_config(folder);
    EXPECT_EQ(config.hidden, model.hidden) << model.name;
    EXPECT_EQ(config.layers, model.layers) << model.name;
    EXPECT_EQ(config.head_dim, model.head_dim) << model.name;
    EXPECT_EQ(config.ropes.front().columns, model.rotated) << model.name;
  }
}

} // namespace
} // namespace concord::model
