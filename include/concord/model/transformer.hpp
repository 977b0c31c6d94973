#pragma once
/// A contiguous share of a language model's layers; a callback sees the residual stream behind every block. Local.
///
/// Equal to Hugging Face's models with attn_implementation="eager" (tests/cli/test_extract_golden.py).

#include "concord/model/config.hpp"
#include "concord/model/layer_range.hpp"
#include "concord/model/ops.hpp"
#include "concord/model/weights.hpp"

#include <ATen/core/Tensor.h>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>

namespace concord::model {

/// Called with layer number (-1 for the embedding) and residual stream [rows, d] behind it.
using ResidualTap = std::function<void(int layer, const at::Tensor& residual)>;

class Transformer {
public:
  /// Loads its blocks alone, as `compute` (f32 or bf16) on `device`; `rows` is the usual number of rows of a batch.
  /// `files`: what all ranks of a job read the weights from; without it what this process finds. @throws Error input_missing or bad_data.
  Transformer(const std::filesystem::path& folder, LayerRange range, at::ScalarType compute, at::Device device, Index rows,
              std::optional<WeightFiles> files = {});
  ~Transformer();
  const ModelConfig& config() const;
  LayerRange range() const;
  at::ScalarType compute() const;
  /// Where its weights and residual streams lie.
  at::Device device() const;
  Contexts contexts(std::vector<Index> offsets) const;
  /// The residual stream in front of block 0. ids [rows] i32, of the contexts one behind the other
  at::Tensor embed(std::span<const std::int32_t> ids, const Contexts& contexts) const;
  /// Runs the blocks over residual [rows, d] in place; `tap` sees the embedding too when first = 0.
  void run(at::Tensor& residual, const Contexts& contexts, const ResidualTap& tap) const;
  /// run() of one context that keeps each block's queries, keys and values [rows, qkv_width], for run_copies().
  std::vector<at::Tensor> run_keeping(at::Tensor& residual, const Contexts& context, const ResidualTap& tap) const;
  /// Takes copies of the rows [first, end) of that context, which were changed behind layer `behind`, through the later blocks. The rows in
  /// front of `first` do not see the change, so they are those kept.
  /// @param copies [count * (end - first), d], copy after copy, in place; @param context the one context, of `end` rows; @param tap sees
  /// them behind each of these blocks
  void run_copies(at::Tensor& copies, int behind, Index first, const std::vector<at::Tensor>& kept, const Contexts& context,
                  const ResidualTap& tap = nullptr) const;
  /// Hands out log probabilities of the next token, piece by piece: rows [begin, ...) of residual [rows, d] -> [rows, vocab] f32. Needs the
  /// head.
  void log_probabilities(const at::Tensor& residual, const std::function<void(Index begin, const at::Tensor& rows)>& take) const;
  /// Sum of the next-token cross-entropies in nats over rows whose target is >= 0. Needs the head.
  /// @param residual [rows, d], @param targets [rows] i64, -1 where there is no next token
  double loss_sum(const at::Tensor& residual, const at::Tensor& targets) const;

private:
  at::Tensor logits(const at::Tensor& residual) const;
  struct Parameters;
  std::unique_ptr<Parameters> parameters_;
};

/// Bytes that a Transformer of that range keeps, and the most that run() needs beside them for `rows` rows of contexts no
/// longer than `longest`: what `concord plan` shows. On a GPU the embedding lies there, too, and all rows of a batch go through the MLP at
/// once, and attention pads `contexts` contexts to the longest.
double weight_bytes(const ModelConfig& config, LayerRange range, Dtype compute, bool on_gpu);
double working_bytes(const ModelConfig& config, LayerRange range, Dtype compute, Index rows, Index longest, int threads);
double gpu_working_bytes(const ModelConfig& config, LayerRange range, Dtype compute, Index rows, Index contexts, Index longest);
/// Rows whose logits exist at once.
Index loss_rows(Index vocabulary, bool on_gpu);
/// Floating point operations for one row: of a block, and of the head.
double block_flops(const ModelConfig& config, int layer, Index longest);
double head_flops(const ModelConfig& config);

} // namespace concord::model
