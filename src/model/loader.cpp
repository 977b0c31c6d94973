#include "model/loader.hpp"

#include <ATen/ATen.h>

namespace concord::model {

using at::Tensor;

Tensor mapped(const io::TensorView& view) {
  return at::from_blob(const_cast<void*>(view.data), view.shape, at::TensorOptions().dtype(torch_dtype(view.dtype)));
}

Norm Loader::rms_norm(const std::string& name, Index width) {
  const auto& view = weights_.tensor(name + ".weight", {width > 0 ? width : config_.hidden});
  return {mapped(view).to(at::kFloat).add(config_.norm_offset).to(device_), {}, config_.norm_eps};
}

Linear Loader::linear(const std::vector<Part>& parts, Index in, bool bias) {
  Index out = 0;
  for (const auto& part : parts) out += part.out;
  const auto options = at::TensorOptions().dtype(dtype_).device(device_);
  Tensor joined = at::empty({out, in}, options);
  Tensor biases = bias ? at::empty({out}, options) : Tensor();
  Index at_row = 0;
  for (const auto& part : parts) {
    const Index rows = part.of > 0 ? part.of : part.out;
    const auto& view = weights_.tensor(part.name + ".weight", {rows, in});
    joined.slice(0, at_row, at_row + part.out).copy_(mapped(view).slice(0, part.first, part.first + part.out));
    weights_.forget(view);
    if (bias)
      biases.slice(0, at_row, at_row + part.out)
          .copy_(mapped(weights_.tensor(part.name + ".bias", {rows})).slice(0, part.first, part.first + part.out));
    at_row += part.out;
  }
  return {std::move(joined), rows_, std::move(biases)};
}

Norm Loader::layer_norm(const std::string& name) {
  const std::vector<Index> width{config_.hidden};
  const auto read = [&](const char* what) { return mapped(weights_.tensor(name + what, width)).to(at::kFloat).clone().to(device_); };
  return {read(".weight"), read(".bias"), config_.norm_eps};
}

Linear Loader::linear(const std::string& name, const std::vector<Index>& shape, bool bias,
                      const std::function<Tensor(const Tensor&)>& ordered) {
  const auto options = at::TensorOptions().dtype(dtype_).device(device_);
  const auto& view = weights_.tensor(name + ".weight", shape);
  const Tensor stored = ordered(mapped(view));
  Tensor weight = at::empty(stored.sizes(), options);
  weight.copy_(stored);
  weights_.forget(view);
  Tensor biases;
  if (bias) biases = ordered(mapped(weights_.tensor(name + ".bias", {weight.size(0)}))).to(options).contiguous();
  return {std::move(weight), rows_, std::move(biases)};
}

std::string layer_name(int layer) {
  return "model.layers." + std::to_string(layer) + ".";
}

AttentionSettings Loader::attention(int layer) const {
  const ModelConfig& c = config_;
  const bool sliding = c.sliding[static_cast<std::size_t>(layer)];
  return {c.heads,
          c.kv_heads,
          c.head_dim,
          c.attention_scale,
          c.attn_softcap,
          sliding ? c.sliding_window : 0,
          sliding && c.ropes.size() > 1 ? std::size_t{1} : std::size_t{0}};
}

BlockParts Loader::products(int layer) {
  const ModelConfig& c = config_;
  const std::string name = layer_name(layer);
  const Index kv = c.kv_heads * c.head_dim;
  BlockParts parts;
  parts.qkv = linear({{name + "self_attn.q_proj", c.heads * c.head_dim}, {name + "self_attn.k_proj", kv}, {name + "self_attn.v_proj", kv}},
                     c.hidden, c.qkv_bias);
  parts.out = linear({{name + "self_attn.o_proj", c.hidden}}, c.heads * c.head_dim, c.out_bias);
  parts.mlp = {linear({{name + "mlp.gate_proj", c.intermediate}}, c.hidden, c.mlp_bias),
               linear({{name + "mlp.up_proj", c.intermediate}}, c.hidden, c.mlp_bias),
               linear({{name + "mlp.down_proj", c.hidden}}, c.intermediate, c.mlp_bias), c.activation};
  parts.attention = attention(layer);
  return parts;
}

} // namespace concord::model
