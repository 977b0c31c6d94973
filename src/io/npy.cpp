#include "concord/io/npy.hpp"

#include "concord/core/error.hpp"
#include "concord/core/text.hpp"

#include <zip.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <regex>
#include <span>

namespace concord::io {
namespace {

constexpr const char* npy_magic = "\x93NUMPY";

struct Header {
  std::string descr;
  bool fortran = false;
  std::vector<Index> shape;
  std::size_t data_begin = 0;
};

Header parse_header(const std::vector<char>& bytes, const std::string& name) {
  require(bytes.size() >= 10 && std::memcmp(bytes.data(), npy_magic, 6) == 0, ExitCode::bad_data, "{} is no NumPy array (.npy)", name);
  const int major = static_cast<unsigned char>(bytes[6]);
  std::uint32_t length = 0;
  std::memcpy(&length, bytes.data() + 8, major >= 2 ? 4 : 2);
  Header header;
  header.data_begin = (major >= 2 ? 12U : 10U) + length;
  require(header.data_begin <= bytes.size(), ExitCode::bad_data, "{} is truncated inside its header", name);
  const std::string text(bytes.data() + (major >= 2 ? 12 : 10), length);
  std::smatch match;
  require(std::regex_search(text, match, std::regex("'descr':\\s*'([^']+)'")), ExitCode::bad_data,
          "{}: structured arrays are not supported", name);
  header.descr = match[1];
  header.fortran = std::regex_search(text, std::regex("'fortran_order':\\s*True"));
  require(std::regex_search(text, match, std::regex("'shape':\\s*\\(([^)]*)\\)")), ExitCode::bad_data, "{}: no shape", name);
  const std::string shape = match[1];
  const std::regex number("[0-9]+");
  for (std::sregex_iterator it(shape.begin(), shape.end(), number), end; it != end; ++it) header.shape.push_back(std::stoll(it->str()));
  return header;
}

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
  if (shape.size() != 2) return bytes;
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

NpyArray parse_npy(const std::vector<char>& bytes, const std::string& name) {
  const Header header = parse_header(bytes, name);
  NpyArray array;
  array.shape = header.shape;
  const std::string kind = header.descr.substr(1);
  require(header.descr[0] != '>', ExitCode::bad_data, "{}: big-endian arrays are not supported", name);
  require(!header.fortran || header.shape.size() <= 2, ExitCode::bad_data,
          "{}: Fortran order is supported up to two dimensions; save it with np.ascontiguousarray", name);
  const char* data = bytes.data() + header.data_begin;
  const std::size_t available = bytes.size() - header.data_begin;
  const auto needs = [&](std::size_t item) {
    require(available >= static_cast<std::size_t>(array.count()) * item, ExitCode::bad_data,
            "{} is truncated: {} bytes of data, its shape needs {}", name, available, static_cast<std::size_t>(array.count()) * item);
  };
  const auto plain = [&](Dtype dtype) {
    needs(size_of(dtype));
    array.dtype = dtype;
    array.bytes.assign(data, data + static_cast<std::size_t>(array.count()) * size_of(dtype));
  };
  if (kind == "f8")
    plain(Dtype::f64);
  else if (kind == "f4")
    plain(Dtype::f32);
  else if (kind == "f2")
    plain(Dtype::f16);
  else if (kind == "i8")
    plain(Dtype::i64);
  else if (kind == "i4")
    plain(Dtype::i32);
  else if (kind == "u4")
    plain(Dtype::u32);
  else if (kind == "u1" || kind == "b1")
    plain(Dtype::u8);
  else if (kind == "u2" || kind == "i2") {
    needs(2);
    array.dtype = Dtype::i32;
    array.bytes = kind == "u2" ? widen<std::uint16_t>(data, array.count()) : widen<std::int16_t>(data, array.count());
  } else if (kind[0] == 'S' || kind[0] == 'U') {
    array.dtype = Dtype::u8;
    array.bytes.assign(data, data + available);
    array.shape = {static_cast<Index>(available)};
    return array;
  } else {
    fail(ExitCode::bad_data, "{}: element type {} is not supported", name, header.descr);
  }
  if (header.fortran) array.bytes = to_row_major(array.bytes, array.shape, size_of(array.dtype));
  return array;
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
  require(dtype != Dtype::f32 && dtype != Dtype::f64 && dtype != Dtype::f16, ExitCode::bad_data, "integers were expected, found {}",
          name_of(dtype));
  const auto values = as_double();
  return {values.begin(), values.end()};
}

NpyArray read_npy(const std::filesystem::path& path) {
  const std::string text = read_text(path, "array");
  return parse_npy({text.begin(), text.end()}, path.string());
}

std::map<std::string, NpyArray> read_npz(const std::filesystem::path& path) {
  require(std::filesystem::exists(path), ExitCode::input_missing, "there is no file {}", path.string());
  int code = 0;
  const std::unique_ptr<zip_t, int (*)(zip_t*)> archive(zip_open(path.c_str(), ZIP_RDONLY, &code), zip_close);
  require(archive != nullptr, ExitCode::bad_data, "{} is no .npz archive (libzip error {})", path.string(), code);
  std::map<std::string, NpyArray> arrays;
  for (zip_int64_t i = 0; i < zip_get_num_entries(archive.get(), 0); ++i) {
    zip_stat_t info{};
    zip_stat_index(archive.get(), static_cast<zip_uint64_t>(i), 0, &info);
    const std::unique_ptr<zip_file_t, int (*)(zip_file_t*)> member(zip_fopen_index(archive.get(), static_cast<zip_uint64_t>(i), 0),
                                                                   zip_fclose);
    std::vector<char> bytes(info.size);
    require(member != nullptr && zip_fread(member.get(), bytes.data(), info.size) == static_cast<zip_int64_t>(info.size),
            ExitCode::bad_data, "{} is damaged at member {}", path.string(), info.name);
    std::string name = info.name;
    if (name.ends_with(".npy")) name.resize(name.size() - 4);
    arrays.emplace(name, parse_npy(bytes, path.string() + ":" + name));
  }
  return arrays;
}

namespace {

/// A column that a row names twice; -1: none.
Index repeated_column(std::span<const std::int32_t> columns) {
  if (std::adjacent_find(columns.begin(), columns.end(), std::greater_equal<>()) == columns.end()) return -1; // ascending, as most are
  std::vector<std::int32_t> sorted(columns.begin(), columns.end());
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  return twice == sorted.end() ? -1 : *twice;
}

} // namespace

void check_csr(const CsrMatrix& m, const std::string& name) {
  require(static_cast<Index>(m.indptr.size()) == m.rows + 1 && m.indptr.front() == 0 && m.indptr.back() == m.nnz() &&
              m.values.size() == m.indices.size(),
          ExitCode::bad_data, "{}: indptr, indices and data do not fit each other", name);
  for (Index r = 0; r < m.rows; ++r) {
    const auto row = static_cast<std::size_t>(r);
    require(m.indptr[row] <= m.indptr[row + 1], ExitCode::bad_data, "{}: indptr decreases at row {}", name, r);
    for (Index e = m.indptr[row]; e < m.indptr[row + 1]; ++e) {
      const auto i = static_cast<std::size_t>(e);
      require(m.indices[i] >= 0 && m.indices[i] < m.cols, ExitCode::bad_data, "{}: row {} has column {} of {}", name, r, m.indices[i],
              m.cols);
      require(std::isfinite(m.values[i]), ExitCode::bad_data, "{}: row {} holds a value that is not finite", name, r);
    }
    const auto begin = static_cast<std::size_t>(m.indptr[row]);
    const Index twice = repeated_column(std::span(m.indices).subspan(begin, static_cast<std::size_t>(m.indptr[row + 1]) - begin));
    require(twice < 0, ExitCode::bad_data, "{}: row {} names column {} twice; in scipy, call sum_duplicates() before it is saved", name, r,
            twice);
  }
}

namespace {

/// Removes stored zeros: an entry of a feature matrix means that the feature is active.
void drop_zeros(CsrMatrix& m) {
  std::size_t kept = 0;
  Index begin = 0;
  for (std::size_t r = 0; r < static_cast<std::size_t>(m.rows); ++r) {
    const Index end = m.indptr[r + 1];
    for (auto e = static_cast<std::size_t>(begin); e < static_cast<std::size_t>(end); ++e) {
      if (m.values[e] == 0) continue;
      m.indices[kept] = m.indices[e];
      m.values[kept++] = m.values[e];
    }
    m.indptr[r + 1] = static_cast<Index>(kept);
    begin = end;
  }
  m.indices.resize(kept);
  m.values.resize(kept);
}

} // namespace

CsrMatrix read_scipy_csr(const std::filesystem::path& path) {
  const auto arrays = read_npz(path);
  const std::string name = path.string();
  for (const char* part : {"indptr", "indices", "data", "shape", "format"})
    require(arrays.contains(part), ExitCode::bad_data, "{} has no member {}; save it with scipy.sparse.save_npz", name, part);
  const auto& format = arrays.at("format").bytes;
  const std::string letters(format.begin(), format.end());
  require(letters.find('c') == 0 && letters.find('s') != std::string::npos && letters.find('r') != std::string::npos, ExitCode::bad_data,
          "{} is not in CSR format; convert it with .tocsr()", name);
  const auto shape = arrays.at("shape").as_index();
  CsrMatrix matrix;
  matrix.rows = shape.at(0);
  matrix.cols = shape.at(1);
  matrix.indptr = arrays.at("indptr").as_index();
  const auto indices = arrays.at("indices").as_index();
  matrix.indices.assign(indices.begin(), indices.end());
  const auto values = arrays.at("data").as_double();
  matrix.values.assign(values.begin(), values.end());
  check_csr(matrix, name);
  drop_zeros(matrix);
  return matrix;
}

} // namespace concord::io
