#pragma once
/// Loads the tensors of one model folder with a common type and device, straight from the mapped files. Local.

#include "concord/model/family.hpp"
#include "concord/model/weights.hpp"

namespace concord::model {

class Loader {
public:
  Loader(Weights& weights, at::ScalarType dtype, at::Device device, Index rows)
      : weights_(weights), dtype_(dtype), device_(device), rows_(rows) {}
  /// A norm's weight in f32 with `offset` added.
  at::Tensor norm(const std::string& name, Index width, double offset);
  struct Part {
    std::string name;
    Index out;
  };
  /// Matrices [out_i, in] stacked into one product.
  Linear linear(const std::vector<Part>& parts, Index in);
  /// What the blocks of most families name alike below "model.layers.N.": the joined projection of queries, keys and
  /// values, and the gated MLP.
  Linear qkv(const std::string& layer, const ModelConfig& config);
  GatedMlp gated_mlp(const std::string& layer, const ModelConfig& config);

private:
  Weights& weights_;
  at::ScalarType dtype_;
  at::Device device_;
  Index rows_;
};

/// A view of a mapped tensor, in the type of the file.
at::Tensor mapped(const io::TensorView& view);

} // namespace concord::model
