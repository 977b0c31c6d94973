#include "concord/io/npy/npy.hpp"

#include "concord/core/error.hpp"

#include <zip.h>

#include "io/npy/npy_header.hpp"
#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>

namespace concord::io {
namespace {

template <typename From>
std::vector<char> widen(const char* data, Index count) {
  std::vector<char> bytes(static_cast<std::size_t>(count) * 4);
  for (Index i = 0; i < count; ++i) {
    From value;
    std::memcpy(&value, data + i * static_cast<Index>(sizeof(From)), sizeof(From));
    const auto wide = static_cast<std::int32_t>(value);
    std::memcpy(bytes.data() + i * 4, &wide, 4);
  }
  return bytes;
}

std::vector<char> to_row_major(const std::vector<char>& bytes, const std::vector<Index>& shape, std::size_t item) {
  if (shape.size() != 2 || bytes.empty()) return bytes; // [2^62, 0] has many rows to go through, and nothing in them
  std::vector<char> out(bytes.size());
  const auto rows = static_cast<std::size_t>(shape[0]);
  const auto cols = static_cast<std::size_t>(shape[1]);
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < cols; ++c) std::memcpy(&out[(r * cols + c) * item], &bytes[(c * rows + r) * item], item);
  return out;
}

} // namespace

Index NpyArray::count() const {
  Index n = 1;
  for (const Index s : shape) n *= s;
  return n;
}

namespace {

/// The bytes of elements in this machine's order.
std::vector<char> in_native_order(const char* data, std::size_t bytes, std::size_t item, bool swapped) {
  std::vector<char> out(data, data + bytes);
  if (swapped)
    for (std::size_t begin = 0; begin + item <= bytes; begin += item)
      std::reverse(out.begin() + static_cast<std::ptrdiff_t>(begin), out.begin() + static_cast<std::ptrdiff_t>(begin + item));
  return out;
}

struct ElementType {
  Dtype dtype;
  std::size_t bytes;
};

/// By the kind and size of numpy; small integers are widened later.
std::optional<ElementType> element_type(const std::string& kind) {
  static const std::map<std::string, ElementType> types{{"f8", {Dtype::f64, 8}}, {"f4", {Dtype::f32, 4}}, {"f2", {Dtype::f16, 2}},
                                                        {"i8", {Dtype::i64, 8}}, {"u8", {Dtype::i64, 8}}, {"i4", {Dtype::i32, 4}},
                                                        {"u4", {Dtype::u32, 4}}, {"i2", {Dtype::i32, 2}}, {"u2", {Dtype::i32, 2}},
                                                        {"i1", {Dtype::i32, 1}}, {"u1", {Dtype::u8, 1}},  {"b1", {Dtype::u8, 1}}};
  const auto found = types.find(kind);
  return found == types.end() ? std::nullopt : std::optional(found->second);
}

/// @throws Error bad_data for a type that is not supported.
ElementType element_type(const NpyHeader& header, const std::string& name) {
  const bool ordered = header.descr.size() >= 2 && std::string("<>=|").find(header.descr[0]) != std::string::npos;
  const auto type = ordered ? element_type(header.descr.substr(1)) : std::nullopt;
  require(type.has_value(), ExitCode::bad_data, "{}: element type {} is not supported", name, header.descr.substr(0, 20));
  return *type;
}

/// 64-bit numbers without a sign, of which none may need the 64th bit.
void check_unsigned(const std::vector<char>& bytes, const std::string& name) {
  for (std::size_t i = 7; i < bytes.size(); i += 8)
    require(static_cast<signed char>(bytes[i]) >= 0, ExitCode::bad_data, "{}: element {} is above 2^63", name, i / 8);
}

bool is_text(const NpyHeader& header) {
  return header.descr.size() >= 2 && std::string("<>=|").find(header.descr[0]) != std::string::npos &&
         (header.descr[1] == 'S' || header.descr[1] == 'U');
}

} // namespace

std::size_t npy_element_bytes(const NpyHeader& header, const std::string& name) {
  return element_type(header, name).bytes;
}

NpyArray npy_elements(const NpyHeader& header, const std::vector<Index>& shape, const char* data, const std::string& name) {
  const auto type = element_type(header, name);
  require(!header.fortran || header.shape.size() <= 2, ExitCode::bad_data,
          "{}: Fortran order is supported up to two dimensions; save it with np.ascontiguousarray", name);
  NpyArray array;
  array.dtype = type.dtype;
  array.shape = shape;
  const Index count = array.count();
  array.bytes = in_native_order(data, static_cast<std::size_t>(count) * type.bytes, type.bytes, header.descr[0] == '>');
  const std::string kind = header.descr.substr(1);
  if (kind == "u8") check_unsigned(array.bytes, name);
  if (kind == "u2") array.bytes = widen<std::uint16_t>(array.bytes.data(), count);
  if (kind == "i2") array.bytes = widen<std::int16_t>(array.bytes.data(), count);
  if (kind == "i1") array.bytes = widen<std::int8_t>(array.bytes.data(), count);
  if (header.fortran) array.bytes = to_row_major(array.bytes, array.shape, size_of(array.dtype));
  return array;
}

NpyArray parse_npy(const std::vector<char>& bytes, const std::string& name) {
  const NpyHeader header = parse_npy_header(bytes, name);
  const char* data = bytes.data() + header.data_begin;
  const std::size_t available = bytes.size() - header.data_begin;
  if (is_text(header)) {
    NpyArray array;
    array.dtype = Dtype::u8;
    array.bytes.assign(data, data + available);
    array.shape = {static_cast<Index>(available)};
    return array;
  }
  const std::size_t item = npy_element_bytes(header, name);
  require(static_cast<std::size_t>(header.count) <= available / item, ExitCode::bad_data,
          "{} is truncated: {} bytes of data, its shape needs {} elements of {} bytes", name, available, header.count, item);
  return npy_elements(header, header.shape, data, name);
}

std::vector<float> NpyArray::as_float() const {
  if (dtype == Dtype::f64 || dtype == Dtype::f32 || dtype == Dtype::f16 || dtype == Dtype::bf16) {
    std::vector<float> out(static_cast<std::size_t>(count()));
    to_float(bytes.data(), dtype, out);
    return out;
  }
  const auto wide = as_double();
  return {wide.begin(), wide.end()};
}

std::vector<double> NpyArray::as_double() const {
  std::vector<double> out(static_cast<std::size_t>(count()));
  const auto convert = [&]<typename T>(T) {
    for (std::size_t i = 0; i < out.size(); ++i) {
      T value;
      std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
      out[i] = static_cast<double>(value);
    }
  };
  switch (dtype) {
  case Dtype::f64:
    convert(double{});
    break;
  case Dtype::i64:
    convert(std::int64_t{});
    break;
  case Dtype::i32:
    convert(std::int32_t{});
    break;
  case Dtype::u32:
    convert(std::uint32_t{});
    break;
  case Dtype::u8:
    convert(std::uint8_t{});
    break;
  default: {
    std::vector<float> floats(out.size());
    to_float(bytes.data(), dtype, floats);
    std::copy(floats.begin(), floats.end(), out.begin());
  }
  }
  return out;
}

std::vector<Index> NpyArray::as_index() const {
  require(dtype != Dtype::f32 && dtype != Dtype::f64 && dtype != Dtype::f16 && dtype != Dtype::bf16, ExitCode::bad_data,
          "integers were expected, found {}", name_of(dtype));
  std::vector<Index> out(static_cast<std::size_t>(count()));
  const auto convert = [&]<typename T>(T) {
    for (std::size_t i = 0; i < out.size(); ++i) {
      T value;
      std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
      out[i] = static_cast<Index>(value);
    }
  };
  if (dtype == Dtype::i64)
    convert(std::int64_t{});
  else if (dtype == Dtype::i32)
    convert(std::int32_t{});
  else if (dtype == Dtype::u32)
    convert(std::uint32_t{});
  else
    convert(std::uint8_t{});
  return out;
}

namespace {

struct Closed {
  void operator()(zip_t* archive) const { zip_discard(archive); }
  void operator()(zip_file_t* member) const { zip_fclose(member); }
};

/// All of a member, whatever size it claims: memory grows with what is really there.
std::vector<char> read_member(zip_t* archive, zip_uint64_t number, const zip_stat_t& info, const std::string& name) {
  const std::unique_ptr<zip_file_t, Closed> member(zip_fopen_index(archive, number, 0));
  require(member != nullptr, ExitCode::bad_data, "{}: member {} cannot be read: {}", name, info.name, zip_strerror(archive));
  constexpr std::size_t piece = std::size_t{1} << 24;
  std::vector<char> bytes;
  for (;;) {
    const std::size_t before = bytes.size();
    bytes.resize(before + std::min<std::size_t>(piece, std::max<std::size_t>(1, info.size - std::min<std::size_t>(before, info.size))));
    const zip_int64_t got = zip_fread(member.get(), bytes.data() + before, bytes.size() - before);
    require(got >= 0, ExitCode::bad_data, "{} is damaged at member {}", name, info.name);
    bytes.resize(before + static_cast<std::size_t>(got));
    if (got == 0 || bytes.size() > info.size) break; // one byte more than claimed is enough to know
  }
  require(bytes.size() == info.size, ExitCode::bad_data, "{} is damaged at member {}: {} bytes instead of {}", name, info.name,
          bytes.size(), info.size);
  return bytes;
}

} // namespace

std::map<std::string, NpyArray> read_npz(const std::filesystem::path& path) {
  std::error_code trouble;
  require(std::filesystem::exists(path, trouble), ExitCode::input_missing, "there is no file {}", path.string());
  int code = 0;
  const std::unique_ptr<zip_t, Closed> archive(zip_open(path.c_str(), ZIP_RDONLY, &code));
  require(archive != nullptr, ExitCode::bad_data, "{} is no .npz archive (libzip error {})", path.string(), code);
  std::map<std::string, NpyArray> arrays;
  zip_uint64_t packed = 0; // members that share bytes of the file would unpack to any size
  const auto whole = std::filesystem::file_size(path, trouble);
  for (zip_int64_t i = 0; i < zip_get_num_entries(archive.get(), 0); ++i) {
    zip_stat_t info{};
    const auto number = static_cast<zip_uint64_t>(i);
    constexpr zip_uint64_t needed = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE;
    const bool known = zip_stat_index(archive.get(), number, 0, &info) == 0 && (info.valid & needed) == needed;
    const bool there = known && !__builtin_add_overflow(packed, info.comp_size, &packed) && packed <= whole;
    require(there, ExitCode::bad_data, "{} is damaged at member {}", path.string(), i);
    std::string name = info.name;
    if (name.ends_with(".npy")) name.resize(name.size() - 4);
    const auto bytes = read_member(archive.get(), number, info, path.string());
    require(arrays.emplace(name, parse_npy(bytes, path.string() + ":" + name)).second, ExitCode::bad_data, "{} has {} twice", path.string(),
            name);
  }
  return arrays;
}

} // namespace concord::io
