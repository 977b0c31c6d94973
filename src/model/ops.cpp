#include "concord/model/ops.hpp"

#include "concord/core/error.hpp"

#include "model/cpu_kernels.hpp"
#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <cmath>

namespace concord::model {

using at::Tensor;
using cpu::Bf16;

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

bool by_kernel(const Tensor& x) {
  return x.is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}

float* f32(const Tensor& x) {
  return x.data_ptr<float>();
}

Bf16* bf16(const Tensor& x) {
  return reinterpret_cast<Bf16*>(x.data_ptr<at::BFloat16>());
}

/// Calls f with pointers of the tensors' type.
template <typename F, typename... Tensors>
void with_pointers(F&& f, const Tensor& first, const Tensors&... others) {
  if (first.scalar_type() == at::kFloat)
    f(f32(first), f32(others)...);
  else
    f(bf16(first), bf16(others)...);
}

Tensor pack(const Tensor& weight, Index rows) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("mkldnn::_reorder_linear_weight", "")
                             .typed<Tensor(const Tensor&, std::optional<std::int64_t>)>();
  return op.call(weight, rows);
}

using Scalars = c10::List<std::optional<at::Scalar>>;

std::optional<Tensor> if_defined(const Tensor& bias) {
  return bias.defined() ? std::optional(bias) : std::nullopt;
}

/// x W^T + b with an elementwise function behind it: "none", "gelu" (with algorithm "tanh" or "none") or "swish".
Tensor multiply_packed(const Tensor& x, const Tensor& weight, const Tensor& bias, std::string_view behind, std::string_view algorithm) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("mkldnn::_linear_pointwise", "")
                             .typed<Tensor(const Tensor&, const Tensor&, const std::optional<Tensor>&, std::string_view, Scalars,
                                           std::optional<std::string_view>)>();
  return op.call(x, weight, if_defined(bias), behind, Scalars(), algorithm);
}

Tensor multiply_packed_times(const Tensor& x, const Tensor& factor, const Tensor& weight, const Tensor& bias) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("mkldnn::_linear_pointwise", "binary")
                             .typed<Tensor(const Tensor&, const Tensor&, const Tensor&, const std::optional<Tensor>&, std::string_view)>();
  return op.call(x, factor, weight, if_defined(bias), "mul");
}

/// x with rows of zeros behind it up to a multiple of product_rows: oneDNN compiles a product for each number of rows, so
/// these had better be few.
Tensor padded(const Tensor& x) {
  const Index rows = x.size(0);
  const Index whole = (rows + product_rows - 1) / product_rows * product_rows;
  if (whole == rows) return x;
  Tensor out = at::empty({whole, x.size(1)}, x.options());
  out.slice(0, 0, rows).copy_(x);
  out.slice(0, rows).zero_();
  return out;
}

} // namespace

Linear::Linear(Tensor weight, Index rows, Tensor bias) : weight_(std::move(weight)), bias_(std::move(bias)) {
  // oneDNN's own layout saves laying the weight out anew for each product; without its kernels for the type, plain ATen.
  if (!weight_.is_cpu() || !at::globalContext().userEnabledMkldnn()) return;
  try {
    weight_ = pack(weight_, rows);
    packed_ = true;
  } catch (const c10::Error&) {
    packed_ = false;
  }
}

Tensor Linear::operator()(const Tensor& x) const {
  return packed_ ? multiply_packed(padded(x), weight_, bias_, "none", "").slice(0, 0, x.size(0))
                 : at::linear(x, weight_, if_defined(bias_));
}

Tensor Linear::activated(const Tensor& x, Activation activation) const {
  const char* approximation = activation == Activation::gelu_tanh ? "tanh" : "none";
  const bool gelu = activation != Activation::silu;
  if (packed_) return multiply_packed(padded(x), weight_, bias_, gelu ? "gelu" : "swish", gelu ? approximation : "").slice(0, 0, x.size(0));
  Tensor y = at::linear(x, weight_, if_defined(bias_));
  return gelu ? at::gelu_(y, approximation) : at::silu_(y);
}

Tensor Linear::times(const Tensor& x, const Tensor& factor) const {
  if (packed_) return multiply_packed_times(padded(x), padded(factor), weight_, bias_).slice(0, 0, x.size(0));
  return at::linear(x, weight_, if_defined(bias_)).mul_(factor);
}

namespace {

Tensor rms_norm_by_aten(const Tensor& x, const Tensor& weight, double eps) {
  const Tensor wide = x.to(at::kFloat);
  return wide.mul(at::rsqrt(wide.square().mean(-1, /*keepdim=*/true).add_(eps))).mul_(weight).to(x.scalar_type());
}

} // namespace

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  if (by_kernel(x)) {
    Tensor out = at::empty_like(x);
    with_pointers([&](auto* from, auto* to) { cpu::rms_norm(from, f32(weight), x.size(0), x.size(1), static_cast<float>(eps), to); }, x,
                  out);
    return out;
  }
  return rms_norm_by_aten(x, weight, eps);
}

Tensor Norm::operator()(const Tensor& x) const {
  if (!defined()) return x;
  if (!bias.defined()) return rms_norm(x, weight, eps);
  return at::layer_norm(x.to(at::kFloat), weight.sizes(), weight, bias, eps).to(x.scalar_type());
}

void Norm::add_to(Tensor& residual, const Tensor& x) const {
  if (defined() && !bias.defined())
    add_normed(residual, x, weight, eps);
  else
    add(residual, (*this)(x));
}

void rms_norm_columns(Tensor& x, Index first, Index count, const Tensor& weight, double eps) {
  const Index width = weight.size(0);
  if (by_kernel(x)) {
    with_pointers(
        [&](auto* rows) { cpu::rms_norm_columns(rows + first, f32(weight), x.size(0), x.size(1), count, width, static_cast<float>(eps)); },
        x);
    return;
  }
  Tensor vectors = x.slice(1, first, first + count * width).view({x.size(0), count, width});
  vectors.copy_(rms_norm_by_aten(vectors, weight, eps));
}

void add(Tensor& residual, const Tensor& x) {
  if (by_kernel(x))
    with_pointers([&](auto* to, auto* from) { cpu::add(to, from, x.numel()); }, residual, x);
  else
    residual.add_(x);
}

void add_normed(Tensor& residual, const Tensor& x, const Tensor& weight, double eps) {
  if (by_kernel(x))
    with_pointers([&](auto* to, auto* from) { cpu::add_normed(to, from, f32(weight), x.size(0), x.size(1), static_cast<float>(eps)); },
                  residual, x);
  else
    residual.add_(rms_norm(x, weight, eps));
}

void Mlp::operator()(const Tensor& x, const std::function<void(Index, Index, const Tensor&)>& take) const {
  const Index rows = x.size(0);
  const Index at_once = x.is_cpu() ? mlp_rows : rows; // a GPU wants large products
  for (Index begin = 0; begin < rows; begin += at_once) {
    const Index end = std::min(rows, begin + at_once);
    const Tensor slice = x.slice(0, begin, end);
    const Tensor piece = x.is_cpu() ? padded(slice) : slice; // once for all three products
    const Tensor wide = gate.defined() ? up.times(piece, gate.activated(piece, activation)) : up.activated(piece, activation);
    take(begin, end, down(wide).slice(0, 0, end - begin));
  }
}

Tensor attend(const Tensor& qkv, const Contexts& contexts, const AttentionSettings& settings) {
  if (!by_kernel(qkv)) return attend_by_aten(qkv, contexts, settings);
  Tensor out = at::empty({qkv.size(0), settings.heads * settings.head_dim}, qkv.options());
  with_pointers([&](auto* from, auto* to) { cpu::attend(from, contexts, settings, to); }, qkv, out);
  return out;
}

// --- attention by ATen ------------------------------------------------------------------------------------------------

namespace {

/// Rows [begin, end) of a table.
RotaryTable positions(const RotaryTable& table, Index begin, Index end) {
  return {table.cosine.slice(0, begin, end), table.sine.slice(0, begin, end)};
}

/// Rotates pairs of the last dimension of x [n, heads, T, e]: (a, b) -> (a cos - b sin, b cos + a sin).
Tensor rotate(const Tensor& x, const RotaryTable& table) {
  const Index pairs = table.pairs();
  const Tensor wide = x.to(at::kFloat);
  const Tensor a = wide.slice(-1, 0, pairs);
  const Tensor b = wide.slice(-1, pairs, 2 * pairs);
  const Tensor still = wide.slice(-1, 2 * pairs);
  return at::cat({a * table.cosine - b * table.sine, b * table.cosine + a * table.sine, still}, -1).to(x.scalar_type());
}

/// True where query q may not see key k: the future, and beyond the window. [queries, keys]
Tensor hidden_keys(Index q_begin, Index q_end, Index k_begin, Index k_end, Index window, at::Device device) {
  const Tensor q = at::arange(q_begin, q_end, device).unsqueeze(1);
  const Tensor k = at::arange(k_begin, k_end, device).unsqueeze(0);
  Tensor hidden = k > q;
  if (window > 0) hidden = hidden | (q - k >= window);
  return hidden;
}

/// Queries at once, so that a tile of scores stays near 256 MiB whatever the context.
Index query_block(Index contexts, Index heads, Index keys) {
  return std::clamp<Index>((Index{1} << 26) / std::max<Index>(1, contexts * heads * keys), 16, 1024);
}

/// q [n, h, T, e], k and v [n, g, T, e] -> [n, T, h e]
Tensor attend_padded(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionSettings& s) {
  const Index n = q.size(0);
  const Index length = q.size(2);
  const Index group = s.heads / s.kv_heads;
  const Index block = query_block(n, s.heads, length);
  std::vector<Tensor> parts;
  for (Index begin = 0; begin < length; begin += block) {
    const Index end = std::min(length, begin + block);
    const Index first_key = s.window > 0 ? std::max<Index>(0, begin - s.window + 1) : 0;
    // Query heads that share a key head are stacked as more queries of that head: no copy of k and v.
    const Tensor queries = q.slice(2, begin, end).reshape({n, s.kv_heads, group * (end - begin), s.head_dim});
    Tensor scores = at::matmul(queries, k.slice(2, first_key, end).transpose(-1, -2)).mul_(s.scale);
    if (s.softcap > 0) scores = scores.div_(s.softcap).tanh_().mul_(s.softcap);
    const Tensor hidden = hidden_keys(begin, end, first_key, end, s.window, q.device());
    scores.view({n, s.kv_heads, group, end - begin, end - first_key}).masked_fill_(hidden, -std::numeric_limits<double>::infinity());
    const Tensor weights = at::softmax(scores, -1, at::kFloat).to(q.scalar_type());
    parts.push_back(at::matmul(weights, v.slice(2, first_key, end)).view({n, s.heads, end - begin, s.head_dim}));
  }
  const Tensor mixed = parts.size() == 1 ? parts[0] : at::cat(parts, 2);
  return mixed.transpose(1, 2).reshape({n, length, s.heads * s.head_dim});
}

} // namespace

Tensor padded_places(const Contexts& contexts, at::Device device) {
  if (contexts.rows() == contexts.count() * contexts.longest) return {};
  std::vector<Index> places;
  places.reserve(static_cast<std::size_t>(contexts.rows()));
  for (Index c = 0; c < contexts.count(); ++c)
    for (Index t = 0; t < contexts.offsets[static_cast<std::size_t>(c) + 1] - contexts.offsets[static_cast<std::size_t>(c)]; ++t)
      places.push_back(c * contexts.longest + t);
  return at::tensor(places, at::kLong).to(device);
}

Tensor attend_by_aten(const Tensor& qkv, const Contexts& contexts, const AttentionSettings& s) {
  const Index n = contexts.count();
  const Tensor places = contexts.places.defined() ? contexts.places : padded_places(contexts, qkv.device());
  Tensor padded = qkv;
  if (places.defined()) padded = at::zeros({n * contexts.longest, qkv.size(1)}, qkv.options()).index_copy_(0, places, qkv);
  const Tensor heads = padded.view({n, contexts.longest, s.heads + 2 * s.kv_heads, s.head_dim}).transpose(1, 2);
  const Tensor q = rotate(heads.slice(1, 0, s.heads), contexts.rotary[s.rope]);
  const Tensor k = rotate(heads.slice(1, s.heads, s.heads + s.kv_heads), contexts.rotary[s.rope]);
  const Tensor mixed = attend_padded(q, k, heads.slice(1, s.heads + s.kv_heads), s).view({n * contexts.longest, s.heads * s.head_dim});
  return places.defined() ? mixed.index_select(0, places) : mixed;
}

Tensor attend_behind(const Tensor& earlier, const Tensor& copies, const Contexts& context, const AttentionSettings& s) {
  const Index length = context.rows();
  const Index first = earlier.size(0);
  const Index n = length - first;
  const Index count = copies.size(0) / n;
  const Index group = s.heads / s.kv_heads;
  const RotaryTable here = positions(context.rotary[s.rope], first, length);
  const Tensor heads = copies.view({count, n, s.heads + 2 * s.kv_heads, s.head_dim}).transpose(1, 2);
  // Query heads that share a key head are stacked as more queries of that head.
  const Tensor q = rotate(heads.slice(1, 0, s.heads), here).reshape({count, s.kv_heads, group * n, s.head_dim});
  const Tensor k = rotate(heads.slice(1, s.heads, s.heads + s.kv_heads), here);
  const Tensor v = heads.slice(1, s.heads + s.kv_heads);
  const Tensor shared = earlier.view({1, first, s.heads + 2 * s.kv_heads, s.head_dim}).transpose(1, 2);
  const Tensor shared_k = rotate(shared.slice(1, s.heads, s.heads + s.kv_heads), positions(context.rotary[s.rope], 0, first));
  const Tensor shared_v = shared.slice(1, s.heads + s.kv_heads);
  Tensor scores = at::cat({at::matmul(q, shared_k.transpose(-1, -2)), at::matmul(q, k.transpose(-1, -2))}, -1).mul_(s.scale);
  if (s.softcap > 0) scores = scores.div_(s.softcap).tanh_().mul_(s.softcap);
  const Tensor hidden = hidden_keys(first, length, 0, length, s.window, q.device());
  scores.view({count, s.kv_heads, group, n, length}).masked_fill_(hidden, -std::numeric_limits<double>::infinity());
  const Tensor weights = at::softmax(scores, -1, at::kFloat).to(q.scalar_type());
  const Tensor mixed = at::matmul(weights.slice(-1, 0, first), shared_v) + at::matmul(weights.slice(-1, first), v);
  return mixed.view({count, s.heads, n, s.head_dim}).transpose(1, 2).reshape({count * n, s.heads * s.head_dim});
}

double attend_by_aten_bytes(const AttentionSettings& s, Index contexts, Index longest, double element) {
  const auto rows = static_cast<double>(contexts * longest);
  const auto head = static_cast<double>(s.head_dim);
  const auto query = rows * static_cast<double>(s.heads) * head;
  const auto key = rows * static_cast<double>(s.kv_heads) * head;
  const Index queries = std::min(longest, query_block(contexts, s.heads, longest));
  const auto scores = static_cast<double>(contexts * s.heads * queries) * static_cast<double>(longest);
  const double padded = element * (query + 2 * key);
  const double rotating = 4.0 * query * 3.0;                // halves in f32, their products, and both halves joined
  const double mixing = scores * (2 * element + 4.0 + 1.0); // scores, weights in f32 and rounded, which keys are hidden
  return padded + element * (3 * query + key) + std::max(rotating, mixing);
}

} // namespace concord::model
