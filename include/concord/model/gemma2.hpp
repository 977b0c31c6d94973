#pragma once
/// Forward pass of Gemma-2 in libtorch, with the residual stream handed out behind every block. Local.
///
/// Equal to Hugging Face `Gemma2ForCausalLM` (attn_implementation="eager"): RMSNorm with 1 + w, rotary embedding,
/// grouped-query attention with soft-capped scores, alternating sliding window, GeGLU (tanh), norms before and behind
/// attention and MLP, embedding scaled by sqrt(d), tied head with soft-capped logits.

#include "concord/core/dtype.hpp"
#include "concord/model/config.hpp"

#include <ATen/ATen.h>
#include <filesystem>
#include <functional>
#include <memory>

namespace concord::model {

/// libtorch's name of a floating point type. @throws Error bad_data for another.
at::ScalarType torch_dtype(Dtype dtype);

/// Called with layer number (-1 for the embedding) and residual stream [contexts, length, d] behind it.
using ResidualTap = std::function<void(int layer, const at::Tensor& residual)>;

class Gemma2 {
public:
  /// Loads blocks 0..last_layer (-1: the embedding alone) as `compute` (f32 or bf16) on `device`.
  /// @throws Error input_missing or bad_data.
  Gemma2(const std::filesystem::path& folder, int last_layer, at::ScalarType compute, at::Device device);
  ~Gemma2();
  const ModelConfig& config() const;
  /// Runs ids [contexts, length] (i64, right-padded where contexts are shorter: causal attention keeps padding from
  /// earlier positions) through the loaded blocks; returns the last residual stream.
  at::Tensor forward(const at::Tensor& ids, const ResidualTap& tap) const;
  /// Sum of the next-token cross-entropies in nats over positions whose target is >= 0. Needs all blocks loaded.
  /// @param residual [contexts, length, d], @param targets [contexts, length] i64, -1 where there is no next token
  double loss_sum(const at::Tensor& residual, const at::Tensor& targets) const;

private:
  struct Parameters;
  std::unique_ptr<Parameters> parameters_;
};

} // namespace concord::model
