#include "concord/core/dtype.hpp"

#include <array>
#include <cctype>
#include <cmath>
#include <cstring>

namespace concord {
namespace {

struct DtypeFacts {
  Dtype dtype;
  std::string_view name;
  std::size_t size;
};
constexpr std::array<DtypeFacts, 8> facts{{{Dtype::f64, "f64", 8},
                                           {Dtype::f32, "f32", 4},
                                           {Dtype::f16, "f16", 2},
                                           {Dtype::bf16, "bf16", 2},
                                           {Dtype::i64, "i64", 8},
                                           {Dtype::i32, "i32", 4},
                                           {Dtype::u32, "u32", 4},
                                           {Dtype::u8, "u8", 1}}};

const DtypeFacts& facts_of(Dtype dtype) {
  for (const auto& f : facts)
    if (f.dtype == dtype) return f;
  fail(ExitCode::internal, "unknown dtype {}", static_cast<int>(dtype));
}

template <typename T>
T load(const void* from, std::size_t i) {
  T value;
  std::memcpy(&value, static_cast<const char*>(from) + i * sizeof(T), sizeof(T));
  return value;
}

} // namespace

std::size_t size_of(Dtype dtype) {
  return facts_of(dtype).size;
}
std::string_view name_of(Dtype dtype) {
  return facts_of(dtype).name;
}

Dtype parse_dtype(std::string_view name) {
  std::string lower(name);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  for (const auto& f : facts)
    if (f.name == lower) return f.dtype;
  fail(ExitCode::config, "unknown element type '{}'; known: f32, f16, bf16, f64, i64, i32, u32, u8", name);
}

std::uint16_t float_to_bf16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  if (std::isnan(x)) return static_cast<std::uint16_t>((bits >> 16) | 0x40U);
  return static_cast<std::uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16);
}

float f16_to_float(std::uint16_t x) {
  const std::uint32_t sign = static_cast<std::uint32_t>(x & 0x8000U) << 16;
  const std::uint32_t exponent = (x >> 10) & 0x1FU;
  const std::uint32_t mantissa = x & 0x3FFU;
  if (exponent == 0x1F) return std::bit_cast<float>(sign | 0x7F800000U | (mantissa << 13));
  if (exponent == 0) {
    const float value = std::ldexp(static_cast<float>(mantissa), -24);
    return sign != 0 ? -value : value;
  }
  return std::bit_cast<float>(sign | ((exponent + 112U) << 23) | (mantissa << 13));
}

std::uint16_t float_to_f16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000U);
  const float magnitude = std::fabs(x);
  if (std::isnan(x)) return sign | 0x7E00U;
  if (magnitude >= 65520.0F) return sign | 0x7C00U;
  if (magnitude < 6.103515625e-05F) // subnormal: nearbyint rounds ties to even
    return static_cast<std::uint16_t>(sign | static_cast<std::uint16_t>(std::nearbyint(std::ldexp(magnitude, 24))));
  const std::uint32_t rounded = (bits & 0x7FFFFFFFU) + 0xFFFU + ((bits >> 13) & 1U);
  return static_cast<std::uint16_t>(sign | ((rounded - 0x38000000U) >> 13));
}

void to_float(const void* from, Dtype dtype, std::span<float> to) {
  switch (dtype) {
  case Dtype::f32:
    if (!to.empty()) std::memcpy(to.data(), from, to.size_bytes()); // memcpy takes no null pointer, which an empty array has
    return;
  case Dtype::bf16:
    for (std::size_t i = 0; i < to.size(); ++i) to[i] = bf16_to_float(load<std::uint16_t>(from, i));
    return;
  case Dtype::f16:
    for (std::size_t i = 0; i < to.size(); ++i) to[i] = f16_to_float(load<std::uint16_t>(from, i));
    return;
  case Dtype::f64:
    for (std::size_t i = 0; i < to.size(); ++i) to[i] = static_cast<float>(load<double>(from, i));
    return;
  default:
    fail(ExitCode::bad_data, "cannot read {} as floating point", name_of(dtype));
  }
}

void from_float(std::span<const float> from, Dtype dtype, void* to) {
  auto* half = static_cast<std::uint16_t*>(to);
  switch (dtype) {
  case Dtype::f32:
    if (!from.empty()) std::memcpy(to, from.data(), from.size_bytes());
    return;
  case Dtype::bf16:
    for (std::size_t i = 0; i < from.size(); ++i) half[i] = float_to_bf16(from[i]);
    return;
  case Dtype::f16:
    for (std::size_t i = 0; i < from.size(); ++i) half[i] = float_to_f16(from[i]);
    return;
  default:
    fail(ExitCode::config, "activations cannot be stored as {}; use f32, f16 or bf16", name_of(dtype));
  }
}

namespace {

/// A value is not finite when all bits of its exponent are set.
template <typename Bits>
Index first_with_full_exponent(const Bits* values, Bits exponent, Index count) {
  constexpr Index piece = 1 << 14;
  for (Index begin = 0; begin < count; begin += piece) {
    const Index end = std::min(count, begin + piece);
    Bits found = 0; // no early exit inside a piece: that keeps the loop in vector registers
#pragma omp simd reduction(| : found)
    for (Index i = begin; i < end; ++i) found |= static_cast<Bits>((values[i] & exponent) == exponent ? 1 : 0);
    for (Index i = begin; found != 0 && i < end; ++i)
      if ((values[i] & exponent) == exponent) return i;
  }
  return -1;
}

} // namespace

Index first_non_finite(const void* values, Dtype dtype, Index count) {
  switch (dtype) {
  case Dtype::f32:
    return first_with_full_exponent(static_cast<const std::uint32_t*>(values), std::uint32_t{0x7F800000}, count);
  case Dtype::f16:
    return first_with_full_exponent(static_cast<const std::uint16_t*>(values), std::uint16_t{0x7C00}, count);
  case Dtype::bf16:
    return first_with_full_exponent(static_cast<const std::uint16_t*>(values), std::uint16_t{0x7F80}, count);
  default:
    fail(ExitCode::internal, "first_non_finite knows no {}", name_of(dtype));
  }
}

} // namespace concord
