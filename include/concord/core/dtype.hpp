#pragma once
/// Element types of stored arrays, their sizes and names, and the conversions of bf16 and f16. Local.

#include "concord/core/index.hpp"

#include <bit>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace concord {

enum class Dtype { f64, f32, f16, bf16, i64, i32, u32, u8 };

std::size_t size_of(Dtype dtype);
/// "f32", "bf16", ... as studies and safetensors (in upper case) name them.
std::string_view name_of(Dtype dtype);
/// Inverse of name_of, in either case; throws ExitCode::config for an unknown name.
Dtype parse_dtype(std::string_view name);

/// The Dtype of a C++ element type.
template <typename T>
constexpr Dtype dtype_of();
template <>
constexpr Dtype dtype_of<double>() {
  return Dtype::f64;
}
template <>
constexpr Dtype dtype_of<float>() {
  return Dtype::f32;
}
template <>
constexpr Dtype dtype_of<std::int64_t>() {
  return Dtype::i64;
}
template <>
constexpr Dtype dtype_of<std::int32_t>() {
  return Dtype::i32;
}
template <>
constexpr Dtype dtype_of<std::uint32_t>() {
  return Dtype::u32;
}
template <>
constexpr Dtype dtype_of<std::uint8_t>() {
  return Dtype::u8;
}

inline float bf16_to_float(std::uint16_t x) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(x) << 16);
}
/// Round to nearest, ties to even; NaN stays NaN.
std::uint16_t float_to_bf16(float x);
float f16_to_float(std::uint16_t x);
std::uint16_t float_to_f16(float x);

/// Converts `count` elements of type f64, f32, f16 or bf16 to float.
void to_float(const void* from, Dtype dtype, std::span<float> to);
/// Index of the first element of type f32, f16 or bf16 that is not finite, or -1.
Index first_non_finite(const void* values, Dtype dtype, Index count);
/// Converts floats to f32, f16 or bf16 bytes; `to` holds from.size() * size_of(dtype) bytes.
void from_float(std::span<const float> from, Dtype dtype, void* to);

} // namespace concord
