#include "concord/io/npy/npy_rows.hpp"

#include "concord/core/error.hpp"

#include "io/npy/npy_header.hpp"
#include <cerrno>
#include <cstring>
#include <fstream>

namespace concord::io {

struct NpyRows::Opened {
  std::filesystem::path path;
  mutable std::ifstream in;
  NpyHeader header;

  /// `bytes` of the file from `begin` on. @throws Error io.
  void read(std::size_t begin, std::size_t bytes, char* out) const {
    in.seekg(static_cast<std::streamoff>(begin));
    in.read(out, static_cast<std::streamsize>(bytes));
    require(in.good(), ExitCode::io, "cannot read {}", path.string());
  }
};

namespace {

/// What numpy writes in front of the elements is much shorter.
constexpr std::size_t longest_header = std::size_t{1} << 20;

} // namespace

NpyRows::NpyRows(const std::filesystem::path& path) : opened_(std::make_unique<Opened>()) {
  Opened& o = *opened_;
  o.path = path;
  o.in.open(path, std::ios::binary);
  require(o.in.good(), ExitCode::input_missing, "cannot open the array {}: {}", path.string(), std::strerror(errno));
  std::vector<char> begin(longest_header);
  o.in.read(begin.data(), static_cast<std::streamsize>(begin.size()));
  require(!o.in.bad(), ExitCode::io, "cannot read {}", path.string());
  begin.resize(static_cast<std::size_t>(o.in.gcount()));
  o.in.clear();
  o.header = parse_npy_header(begin, path.string());
  require(o.header.shape.size() == 2, ExitCode::bad_data, "{} has {} dimensions; rows have two", path.string(), o.header.shape.size());
  o.in.seekg(0, std::ios::end);
  const auto size = static_cast<std::size_t>(o.in.tellg());
  const std::size_t item = npy_element_bytes(o.header, path.string());
  require(static_cast<std::size_t>(o.header.count) <= (size - o.header.data_begin) / item, ExitCode::bad_data,
          "{} is truncated: {} bytes of data, its shape needs {} elements of {} bytes", path.string(), size - o.header.data_begin,
          o.header.count, item);
}

NpyRows::~NpyRows() = default;

Index NpyRows::rows() const {
  return opened_->header.shape[0];
}

Index NpyRows::cols() const {
  return opened_->header.shape[1];
}

NpyArray NpyRows::read(Index begin, Index count) const {
  const Opened& o = *opened_;
  const std::size_t item = npy_element_bytes(o.header, o.path.string());
  const auto at = [&](Index element) { return static_cast<std::size_t>(element) * item; };
  std::vector<char> raw(at(count * cols()));
  if (!o.header.fortran)
    o.read(o.header.data_begin + at(begin * cols()), raw.size(), raw.data());
  else
    for (Index col = 0; col < cols(); ++col)
      o.read(o.header.data_begin + at(col * rows() + begin), at(count), raw.data() + at(col * count));
  return npy_elements(o.header, {count, cols()}, raw.data(), o.path.string());
}

} // namespace concord::io
