// Configs of Llama and Gemma-2 changed key by key against what transformers computes under them (tests/golden/mutations).
#include "concord/model/transformer.hpp"

#include "support/mutations.hpp"
#include "support/npy.hpp"
#include <ATen/ATen.h>
#include <fstream>

namespace concord::model {
namespace {

using nlohmann::json;

std::filesystem::path folder_of(const std::string& weights, const json& cfg) {
  const auto folder = std::filesystem::path("scratch") / "mutations";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  for (const auto& entry : std::filesystem::directory_iterator(test::golden_folder() / weights))
    if (entry.path().filename() != "config.json")
      std::filesystem::create_symlink(std::filesystem::absolute(entry.path()), folder / entry.path().filename());
  std::ofstream(folder / "config.json") << cfg.dump();
  return folder;
}

/// Behind the last block the first 6 columns of the first, middle and last position of the first context; then its mean cross-entropy.
std::vector<double> answer_of(const std::string& weights, const json& cfg) {
  const auto folder = folder_of(weights, cfg);
  const auto all = test::read_npy(test::golden_folder() / (weights + "_ids.npy"));
  auto ids = all.as_index();
  ids.resize(static_cast<std::size_t>(all.shape.back()));
  const auto length = static_cast<Index>(ids.size());
  const Transformer model(folder, {0, read_config(folder).layers, true}, at::kFloat, at::kCPU, length);
  const std::vector<std::int32_t> tokens(ids.begin(), ids.end());
  const Contexts context = model.contexts({0, length});
  at::Tensor residual = model.embed(tokens, context);
  model.run(residual, context, [](int, const at::Tensor&) {});
  std::vector<double> answer;
  for (const Index row : {Index{0}, length / 2, length - 1})
    for (Index c = 0; c < 6; ++c) answer.push_back(residual[row][c].item<double>());
  std::vector<Index> targets(ids.begin() + 1, ids.end());
  targets.push_back(-1);
  answer.push_back(model.loss_sum(residual, at::tensor(targets)) / static_cast<double>(length - 1));
  return answer;
}

TEST(ConfigMutations, Models) {
  const test::Leave leave{
      {"hidden_act",
       "hidden_activation",
       "attention_bias",
       "mlp_bias",
       "use_bidirectional_attention",
       "rope_type",
       "type",
       "model_type",
       "tie_word_embeddings",
       "factor",
       "low_freq_factor",
       "high_freq_factor",
       "original_max_position_embeddings",
       "sliding_window",
       "query_pre_attn_scalar",
       "partial_rotary_factor",
       "rope_parameters",
       "rope_scaling",
       "rope_interleaved",
       "activation_function",
       "sliding_window_pattern",
       "attn_logit_softcapping",
       "final_logit_softcapping",
       "rope_theta",
       "max_window_layers"},
      {"attention_dropout", "bos_token_id", "eos_token_id", "pad_token_id", "initializer_range", "max_position_embeddings", "use_cache",
       "pretraining_tp", "architectures", "dtype", "torch_dtype", "transformers_version", "auto_map", "cache_implementation", "id2label",
       "output_hidden_states", "return_dict", "is_decoder", "head_dim", "attn_pdrop", "embd_pdrop", "resid_pdrop", "hidden_dropout",
       "classifier_dropout", "reorder_and_upcast_attn", "summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels",
       "summary_first_dropout",
       // of images and videos
       "boi_token_index", "eoi_token_index", "mm_tokens_per_image", "ignore_index", "image_grid_pinpoints", "image_seq_length",
       "image_token_id", "image_token_index", "multimodal_projector_bias", "projector_hidden_act", "projector_layernorm_eps",
       "scale_factor", "spatial_pool_mode", "spatial_pool_stride", "use_image_newline_parameter", "video_seq_length", "video_token_index",
       "vision_feature_layer", "vision_feature_layers", "vision_feature_select_strategy", "_pad_token_id",
       // of several modalities: another name of the whole does not change the language model in it
       "model_type"}};
  test::Mutations("models", leave, answer_of).check();
}

} // namespace
} // namespace concord::model
