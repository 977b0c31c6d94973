#include "model/loader.hpp"

namespace concord::model {

at::Tensor mapped(const io::TensorView& view) {
  return at::from_blob(const_cast<void*>(view.data), view.shape, at::TensorOptions().dtype(torch_dtype(view.dtype)));
}

at::Tensor Loader::norm(const std::string& name, Index width, double offset) {
  return mapped(weights_.tensor(name, {width})).to(at::kFloat).add(offset).to(device_);
}

Linear Loader::linear(const std::vector<Part>& parts, Index in) {
  Index out = 0;
  for (const auto& part : parts) out += part.out;
  at::Tensor joined = at::empty({out, in}, at::TensorOptions().dtype(dtype_).device(device_));
  Index at_row = 0;
  for (const auto& part : parts) {
    const auto& view = weights_.tensor(part.name, {part.out, in});
    joined.slice(0, at_row, at_row + part.out).copy_(mapped(view));
    weights_.forget(view);
    at_row += part.out;
  }
  return {std::move(joined), rows_};
}

Linear Loader::qkv(const std::string& layer, const ModelConfig& c) {
  const Index kv = c.kv_heads * c.head_dim;
  return linear({{layer + "self_attn.q_proj.weight", c.heads * c.head_dim},
                 {layer + "self_attn.k_proj.weight", kv},
                 {layer + "self_attn.v_proj.weight", kv}},
                c.hidden);
}

GatedMlp Loader::gated_mlp(const std::string& layer, const ModelConfig& c) {
  return {linear({{layer + "mlp.gate_proj.weight", c.intermediate}}, c.hidden),
          linear({{layer + "mlp.up_proj.weight", c.intermediate}}, c.hidden),
          linear({{layer + "mlp.down_proj.weight", c.hidden}}, c.intermediate), c.activation};
}

} // namespace concord::model
