#pragma once
/// Loads the tensors of one model folder with a common type and device, straight from the mapped files. Local.

#include "concord/model/family.hpp"
#include "concord/model/weights.hpp"

#include "model/blocks/decoder_block.hpp"

namespace concord::model {

class Loader {
public:
  /// Both must live as long.
  Loader(Weights& weights, const ModelConfig& config, at::ScalarType dtype, at::Device device, Index rows)
      : weights_(weights), config_(config), dtype_(dtype), device_(device), rows_(rows) {}
  const ModelConfig& config() const { return config_; }
  /// NAME.weight of `width` columns (0: the residual stream's), with the config's offset added.
  Norm rms_norm(const std::string& name, Index width = 0);
  /// LayerNorm by NAME.weight and NAME.bias.
  Norm layer_norm(const std::string& name);
  /// The norm of the config's kind.
  Norm norm(const std::string& name) { return config_.layer_norm ? layer_norm(name) : rms_norm(name); }
  /// All of NAME.weight [of, in], or rows [first, first + out) of it.
  struct Part {
    std::string name;
    Index out;
    Index first = 0;
    Index of = 0; ///< 0: as `out`
  };
  /// Matrices [out_i, in] stacked into one product, with NAME.bias where the product has biases.
  Linear linear(const std::vector<Part>& parts, Index in, bool bias = false);
  /// NAME.weight of a shape of its own and NAME.bias [out], if the product has biases, each brought into order.
  /// @param ordered  (weight as it is stored -> [out, in], or bias -> [out])
  Linear linear(const std::string& name, const std::vector<Index>& shape, bool bias,
                const std::function<at::Tensor(const at::Tensor&)>& ordered);
  /// The products of a block as most families name them, without norms: the joined projection of queries, keys and values, what attention
  /// gives, and the gated MLP.
  BlockParts products(int layer);
  /// Of a layer: full, or in the window.
  AttentionSettings attention(int layer) const;

private:
  Weights& weights_;
  const ModelConfig& config_;
  at::ScalarType dtype_;
  at::Device device_;
  Index rows_;
};

/// What the names of a layer's tensors begin with in most families.
std::string layer_name(int layer);

/// A view of a mapped tensor, in the type of the file.
at::Tensor mapped(const io::TensorView& view);

} // namespace concord::model
