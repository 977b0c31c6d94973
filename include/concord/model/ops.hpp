#pragma once
/// The operations that blocks are made of: hand-written kernels on the CPU, ATen elsewhere. Rows of all contexts of a
/// batch stand one behind the other without padding. Local.

#include "concord/core/dtype.hpp"
#include "concord/model/config.hpp"

#include <ATen/core/Tensor.h>
#include <functional>
#include <vector>

namespace concord::model {

/// libtorch's name of a floating point type. @throws Error bad_data for another.
at::ScalarType torch_dtype(Dtype dtype);

/// The angles by which pairs of a head's columns are rotated at each position: column i and column i + pairs. What lies behind the pairs
/// stays as it is.
struct RotaryTable {
  at::Tensor cosine, sine; ///< [longest, pairs] f32 on the model's device
  Index pairs() const { return cosine.size(1); }
};

/// Which rows belong together, and the rotary tables of their positions.
struct Contexts {
  std::vector<Index> offsets; ///< context c is the rows [offsets[c], offsets[c + 1])
  Index longest = 0;
  std::vector<RotaryTable> rotary; ///< as ModelConfig::ropes
  at::Tensor places;               ///< [rows] i64 of rows among contexts padded to the longest, on the device; undefined: made where needed
  Index count() const { return static_cast<Index>(offsets.size()) - 1; }
  Index rows() const { return offsets.back(); }
};

/// y = x W^T + b, with W kept in the layout that the machine multiplies fastest (oneDNN's on the CPU). `rows` is the number
/// of rows to lay out for. Products of equal shapes give equal bits.
class Linear {
public:
  Linear() = default;
  /// @param bias  [out] in the weight's type, or undefined for none
  Linear(at::Tensor weight, Index rows, at::Tensor bias = {});
  at::Tensor operator()(const at::Tensor& x) const;
  /// activation(x W^T + b), in the same pass where oneDNN multiplies.
  at::Tensor activated(const at::Tensor& x, Activation activation) const;
  /// (x W^T + b) * factor, element by element, in the same pass where oneDNN multiplies.
  at::Tensor times(const at::Tensor& x, const at::Tensor& factor) const;
  bool defined() const { return weight_.defined(); }
  /// The weight [out, in] as it was given; there on a GPU alone, where nothing lays it out anew.
  const at::Tensor& plain_weight() const { return weight_; }

private:
  at::Tensor weight_; ///< [out, in], or packed
  at::Tensor bias_;
  bool packed_ = false;
};

/// Soft-capped, causal, grouped-query attention with rotary embedding, one tile of queries at a time.
struct AttentionSettings {
  Index heads = 0, kv_heads = 0, head_dim = 0;
  double scale = 1;
  double softcap = 0;   ///< 0: none
  Index window = 0;     ///< 0: all earlier positions
  std::size_t rope = 0; ///< which of the contexts' rotary tables
};

/// A norm of rows with f32 arithmetic: by their root mean square, or LayerNorm where there is a bias.
struct Norm {
  at::Tensor weight; ///< [d] f32; undefined: none, rows stay as they are
  at::Tensor bias;   ///< [d] f32, or undefined
  double eps = 0;
  bool defined() const { return weight.defined(); }
  /// In x's type.
  at::Tensor operator()(const at::Tensor& x) const;
  /// residual += this norm of x
  void add_to(at::Tensor& residual, const at::Tensor& x) const;
};

/// x / rms(x) * weight with f32 arithmetic, in x's type. weight [d] f32
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);
/// residual += x
void add(at::Tensor& residual, const at::Tensor& x);
/// residual += rms_norm(x, weight)
void add_normed(at::Tensor& residual, const at::Tensor& x, const at::Tensor& weight, double eps);
/// The RMS norm of `count` vectors of weight.size(0) columns each, one behind the other from column `first` on, in place.
void rms_norm_columns(at::Tensor& x, Index first, Index count, const at::Tensor& weight, double eps);
/// qkv [rows, (heads + 2 kv_heads) head_dim], not yet rotated -> [rows, heads * head_dim]
at::Tensor attend(const at::Tensor& qkv, const Contexts& contexts, const AttentionSettings& settings);
/// The same by ATen alone, on any device: the reference in tests of the CPU kernel.
at::Tensor attend_by_aten(const at::Tensor& qkv, const Contexts& contexts, const AttentionSettings& settings);
/// The most bytes that attend_by_aten() holds at once beside qkv, for `contexts` of `longest` rows in a type of `element` bytes.
double attend_by_aten_bytes(const AttentionSettings& settings, Index contexts, Index longest, double element);
/// Attention of copies of the last rows of one context that differ from layer to layer, to the earlier rows of that context, which are the
/// same for all copies, and to themselves. By ATen alone, on any device.
/// @param earlier [first, W] and @param copies [count * n, W] of copy after copy, n = rows of the context - first; @param context one
/// context of first + n rows -> [count * n, heads * head_dim]
at::Tensor attend_behind(const at::Tensor& earlier, const at::Tensor& copies, const Contexts& context, const AttentionSettings& settings);
/// Place of every row among contexts padded to the longest, [rows] i64; undefined when none is shorter.
at::Tensor padded_places(const Contexts& contexts, at::Device device);
/// down(activation(gate(x)) * up(x)), or without a gate down(activation(up(x))), over pieces of rows, so that the wide intermediates stay
/// small.
struct Mlp {
  Linear gate, up, down;
  Activation activation = Activation::silu;
  /// Calls take(begin, end, result) for rows [begin, end) of x, piece by piece.
  void operator()(const at::Tensor& x, const std::function<void(Index begin, Index end, const at::Tensor& result)>& take) const;
};

/// Rows of the wide intermediates that exist at once.
inline constexpr Index mlp_rows = 512;
/// Products on the CPU take multiples of this number of rows.
inline constexpr Index product_rows = 32;

} // namespace concord::model
