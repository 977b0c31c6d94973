#pragma once
/// The row-wise operations and attention of a block on the CPU: one pass over memory each, f32 arithmetic, f32 or bf16
/// storage. The pointers are row-major. Local; spread over libtorch's threads.

#include "concord/model/ops.hpp"

namespace concord::model::cpu {

/// A stored bf16.
struct Bf16 {
  std::uint16_t bits;
};

template <typename T>
void rms_norm(const T* x, const float* weight, Index rows, Index d, float eps, T* out);
template <typename T>
void add(T* residual, const T* x, Index count);
template <typename T>
void add_normed(T* residual, const T* x, const float* weight, Index rows, Index d, float eps);
/// The RMS norm of `count` vectors of `width` columns in each row, in place; rows are `stride` apart.
template <typename T>
void rms_norm_columns(T* x, const float* weight, Index rows, Index stride, Index count, Index width, float eps);
/// out [rows, heads * head_dim]
template <typename T>
void attend(const T* qkv, const Contexts& contexts, const AttentionSettings& settings, T* out);

/// Bytes of scratch that attend() takes a thread.
double attend_scratch_bytes(const AttentionSettings& settings, Index longest);

} // namespace concord::model::cpu
