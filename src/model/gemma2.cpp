#include "concord/model/gemma2.hpp"

#include "concord/core/dtype.hpp"
#include "concord/core/error.hpp"
#include "concord/model/weights.hpp"

#include <ATen/ATen.h>
#include <algorithm>
#include <cmath>

namespace concord::model {

using at::Tensor;

struct Block {
  Tensor norm_before_attention, norm_after_attention, norm_before_mlp, norm_after_mlp; ///< 1 + w, [d]
  Tensor qkv;                                                                          ///< [(h + 2 g) * head_dim, d]
  Tensor out;                                                                          ///< [d, h * head_dim]
  Tensor gate_up;                                                                      ///< [2 * intermediate, d]
  Tensor down;                                                                         ///< [d, intermediate]
  bool sliding = false;
};

struct Gemma2::Parameters {
  ModelConfig config;
  at::ScalarType compute = at::kFloat;
  at::Device device = at::kCPU;
  Tensor embedding; ///< [vocab, d]
  Tensor head;      ///< [vocab, d]
  Tensor final_norm;
  Tensor inverse_frequencies; ///< [head_dim / 2]
  std::vector<Block> blocks;
};

at::ScalarType torch_dtype(Dtype dtype) {
  switch (dtype) {
  case Dtype::f32:
    return at::kFloat;
  case Dtype::f16:
    return at::kHalf;
  case Dtype::bf16:
    return at::kBFloat16;
  case Dtype::f64:
    return at::kDouble;
  default:
    fail(ExitCode::bad_data, "{} is no floating point type", name_of(dtype));
  }
}

namespace {

/// Loads tensors of one model with a common type and device.
class Loader {
public:
  Loader(const std::filesystem::path& folder, at::ScalarType dtype, at::Device device) : weights_(folder), dtype_(dtype), device_(device) {}
  Tensor load(const std::string& name, const std::vector<Index>& shape) {
    const auto& view = weights_.tensor(name, shape);
    auto mapped = at::from_blob(const_cast<void*>(view.data), shape, at::TensorOptions().dtype(torch_dtype(view.dtype)));
    return mapped.to(at::TensorOptions().dtype(dtype_).device(device_), /*non_blocking=*/false, /*copy=*/true);
  }
  /// RMSNorm weight in f32 with Gemma's 1 added.
  Tensor norm(const std::string& name, Index width) {
    const auto& view = weights_.tensor(name, {width});
    auto mapped = at::from_blob(const_cast<void*>(view.data), {width}, at::TensorOptions().dtype(torch_dtype(view.dtype)));
    return mapped.to(at::kFloat).add(1.0).to(device_);
  }
  bool has(const std::string& name) const { return weights_.has(name); }

private:
  Weights weights_;
  at::ScalarType dtype_;
  at::Device device_;
};

Block load_block(Loader& loader, const ModelConfig& c, int layer) {
  const std::string at = "model.layers." + std::to_string(layer) + ".";
  const Index q = c.heads * c.head_dim;
  const Index kv = c.kv_heads * c.head_dim;
  Block block;
  block.norm_before_attention = loader.norm(at + "input_layernorm.weight", c.hidden);
  block.norm_after_attention = loader.norm(at + "post_attention_layernorm.weight", c.hidden);
  block.norm_before_mlp = loader.norm(at + "pre_feedforward_layernorm.weight", c.hidden);
  block.norm_after_mlp = loader.norm(at + "post_feedforward_layernorm.weight", c.hidden);
  block.qkv =
      at::cat({loader.load(at + "self_attn.q_proj.weight", {q, c.hidden}), loader.load(at + "self_attn.k_proj.weight", {kv, c.hidden}),
               loader.load(at + "self_attn.v_proj.weight", {kv, c.hidden})});
  block.out = loader.load(at + "self_attn.o_proj.weight", {c.hidden, q});
  block.gate_up = at::cat({loader.load(at + "mlp.gate_proj.weight", {c.intermediate, c.hidden}),
                           loader.load(at + "mlp.up_proj.weight", {c.intermediate, c.hidden})});
  block.down = loader.load(at + "mlp.down_proj.weight", {c.hidden, c.intermediate});
  block.sliding = c.sliding[static_cast<std::size_t>(layer)];
  return block;
}

/// x / rms(x) * (1 + w), computed in f32 and returned in x's type.
Tensor rms_norm(const Tensor& x, const Tensor& one_plus_w, double eps) {
  const Tensor wide = x.to(at::kFloat);
  const Tensor scale = at::rsqrt(wide.square().mean(-1, /*keepdim=*/true).add_(eps));
  return wide.mul(scale).mul_(one_plus_w).to(x.scalar_type());
}

/// Rotates the halves of the last dimension: (a, b) -> (a cos - b sin, b cos + a sin).
Tensor rotate(const Tensor& x, const Tensor& cosine, const Tensor& sine) {
  const auto halves = x.chunk(2, -1);
  return at::cat({halves[0] * cosine - halves[1] * sine, halves[1] * cosine + halves[0] * sine}, -1);
}

/// True where query q may not see key k: the future, and beyond the window. [queries, keys]
Tensor attention_mask(Index q_begin, Index q_end, Index k_begin, Index k_end, Index window, at::Device device) {
  const Tensor q = at::arange(q_begin, q_end, device).unsqueeze(1);
  const Tensor k = at::arange(k_begin, k_end, device).unsqueeze(0);
  Tensor hidden = k > q;
  if (window > 0) hidden = hidden | (q - k >= window);
  return hidden;
}

/// Soft-capped causal attention, in query blocks so that memory stays linear in the length.
/// q [n, h, T, e], k and v [n, g, T, e] -> [n, h, T, e]
Tensor attend(const Tensor& q, const Tensor& k, const Tensor& v, const ModelConfig& c, bool sliding) {
  constexpr Index query_block = 512;
  const Index n = q.size(0);
  const Index length = q.size(2);
  const Index group = c.heads / c.kv_heads;
  const double scale = 1.0 / std::sqrt(c.query_pre_attn_scalar);
  const Index window = sliding ? c.sliding_window : 0;
  std::vector<Tensor> parts;
  for (Index begin = 0; begin < length; begin += query_block) {
    const Index end = std::min(length, begin + query_block);
    const Index first_key = window > 0 ? std::max<Index>(0, begin - window + 1) : 0;
    // Query heads that share a key head are stacked as more queries of that head: no copy of k and v.
    const Tensor queries = q.slice(2, begin, end).reshape({n, c.kv_heads, group * (end - begin), c.head_dim});
    const Tensor keys = k.slice(2, first_key, end);
    Tensor scores = at::matmul(queries, keys.transpose(-1, -2)).mul_(scale);
    if (c.attn_softcap > 0) scores = scores.div_(c.attn_softcap).tanh_().mul_(c.attn_softcap);
    const Tensor mask = attention_mask(begin, end, first_key, end, window, q.device());
    scores.view({n, c.kv_heads, group, end - begin, end - first_key}).masked_fill_(mask, -std::numeric_limits<double>::infinity());
    const Tensor weights = at::softmax(scores, -1, at::kFloat).to(q.scalar_type());
    parts.push_back(at::matmul(weights, v.slice(2, first_key, end)).view({n, c.heads, end - begin, c.head_dim}));
  }
  return parts.size() == 1 ? parts[0] : at::cat(parts, 2);
}

struct Rotary {
  Tensor cosine, sine; ///< [T, head_dim / 2]
};

Tensor attention(const Block& block, const Tensor& x, const Rotary& rotary, const ModelConfig& c) {
  const Index n = x.size(0);
  const Index length = x.size(1);
  const Tensor projected = at::linear(x, block.qkv).view({n, length, c.heads + 2 * c.kv_heads, c.head_dim}).transpose(1, 2);
  const Tensor q = rotate(projected.slice(1, 0, c.heads), rotary.cosine, rotary.sine);
  const Tensor k = rotate(projected.slice(1, c.heads, c.heads + c.kv_heads), rotary.cosine, rotary.sine);
  const Tensor v = projected.slice(1, c.heads + c.kv_heads);
  const Tensor mixed = attend(q, k, v, c, block.sliding);
  return at::linear(mixed.transpose(1, 2).reshape({n, length, c.heads * c.head_dim}), block.out);
}

Tensor mlp(const Block& block, const Tensor& x) {
  const auto halves = at::linear(x, block.gate_up).chunk(2, -1);
  return at::linear(at::gelu(halves[0], "tanh").mul_(halves[1]), block.down);
}

Tensor run_block(const Block& block, const Tensor& residual, const Rotary& rotary, const ModelConfig& c) {
  const double eps = c.rms_norm_eps;
  const Tensor attended = attention(block, rms_norm(residual, block.norm_before_attention, eps), rotary, c);
  const Tensor middle = residual + rms_norm(attended, block.norm_after_attention, eps);
  const Tensor fed = mlp(block, rms_norm(middle, block.norm_before_mlp, eps));
  return middle + rms_norm(fed, block.norm_after_mlp, eps);
}

} // namespace

Gemma2::Gemma2(const std::filesystem::path& folder, int last_layer, at::ScalarType compute, at::Device device)
    : parameters_(std::make_unique<Parameters>()) {
  Parameters& p = *parameters_;
  p.config = read_config(folder);
  p.compute = compute;
  p.device = device;
  const ModelConfig& c = p.config;
  require(last_layer >= -1 && last_layer < c.layers, ExitCode::config,
          "layer {} does not exist: {} has layers 0 to {} (-1 is the embedding)", last_layer, folder.string(), c.layers - 1);
  Loader loader(folder, compute, device);
  p.embedding = loader.load("model.embed_tokens.weight", {c.vocab, c.hidden});
  for (int layer = 0; layer <= last_layer; ++layer) p.blocks.push_back(load_block(loader, c, layer));
  if (last_layer == c.layers - 1) {
    p.final_norm = loader.norm("model.norm.weight", c.hidden);
    p.head = c.tied_head ? p.embedding : loader.load("lm_head.weight", {c.vocab, c.hidden});
  }
  const Tensor even = at::arange(0, c.head_dim, 2, at::kFloat);
  p.inverse_frequencies = at::pow(c.rope_theta, even.div(static_cast<double>(c.head_dim))).reciprocal().to(device);
}

Gemma2::~Gemma2() = default;

const ModelConfig& Gemma2::config() const {
  return parameters_->config;
}

Tensor Gemma2::forward(const Tensor& ids, const ResidualTap& tap) const {
  const c10::InferenceMode no_gradients;
  const Parameters& p = *parameters_;
  const Tensor angles = at::outer(at::arange(ids.size(1), at::TensorOptions().device(p.device).dtype(at::kFloat)), p.inverse_frequencies);
  const Rotary rotary{angles.cos().to(p.compute), angles.sin().to(p.compute)};
  const Tensor normaliser = at::tensor(std::sqrt(static_cast<double>(p.config.hidden))).to(p.compute);
  Tensor residual = at::embedding(p.embedding, ids.to(p.device)) * normaliser.to(p.device);
  tap(-1, residual);
  for (std::size_t layer = 0; layer < p.blocks.size(); ++layer) {
    residual = run_block(p.blocks[layer], residual, rotary, p.config);
    tap(static_cast<int>(layer), residual);
  }
  return residual;
}

double Gemma2::loss_sum(const Tensor& residual, const Tensor& targets) const {
  const c10::InferenceMode no_gradients;
  const Parameters& p = *parameters_;
  require(p.final_norm.defined(), ExitCode::internal, "the loss needs every block of the model");
  const Tensor rows = rms_norm(residual, p.final_norm, p.config.rms_norm_eps).view({-1, p.config.hidden});
  const Tensor flat_targets = targets.to(p.device).view({-1});
  constexpr Index rows_at_once = 4096; // bounds the logits at 256k words to 4 GiB
  double sum = 0;
  for (Index begin = 0; begin < rows.size(0); begin += rows_at_once) {
    const Index end = std::min(rows.size(0), begin + rows_at_once);
    Tensor logits = at::linear(rows.slice(0, begin, end), p.head);
    if (p.config.final_softcap > 0) logits = logits.div_(p.config.final_softcap).tanh_().mul_(p.config.final_softcap);
    sum += at::cross_entropy_loss(logits.to(at::kFloat), flat_targets.slice(0, begin, end), /*weight=*/{}, at::Reduction::Sum,
                                  /*ignore_index=*/-1)
               .item<double>();
  }
  return sum;
}

} // namespace concord::model
