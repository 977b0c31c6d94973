#include "concord/io/npy/npy_rows.hpp"

#include "concord/core/error.hpp"

#include "io/npy/npy_header.hpp"
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

namespace concord::io {

struct NpyRows::Opened {
  std::filesystem::path path;
  int descriptor = -1;
  NpyHeader header;

  explicit Opened(std::filesystem::path of) : path(std::move(of)), descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    require(descriptor >= 0, ExitCode::input_missing, "cannot open the array {}: {}", path.string(), std::strerror(errno));
  }
  ~Opened() { ::close(descriptor); }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;

  /// Bytes of the file from `begin` on, as many as there are up to `bytes`. @throws Error io.
  std::size_t read_some(std::size_t begin, std::size_t bytes, char* out) const {
    std::size_t done = 0;
    while (done < bytes) {
      const auto got = ::pread(descriptor, out + done, bytes - done, static_cast<off_t>(begin + done));
      if (got < 0 && errno == EINTR) continue;
      require(got >= 0, ExitCode::io, "cannot read {}: {}", path.string(), std::strerror(errno));
      if (got == 0) break;
      done += static_cast<std::size_t>(got);
    }
    return done;
  }
  /// All of them. @throws Error io.
  void read(std::size_t begin, std::size_t bytes, char* out) const {
    require(read_some(begin, bytes, out) == bytes, ExitCode::io, "cannot read {}: it became shorter", path.string());
  }
};

namespace {

/// What numpy writes in front of the elements is much shorter.
constexpr std::size_t longest_header = std::size_t{1} << 20;

} // namespace

NpyRows::NpyRows(const std::filesystem::path& path) : opened_(std::make_unique<Opened>(path)) {
  Opened& o = *opened_;
  std::vector<char> begin(longest_header);
  begin.resize(o.read_some(0, begin.size(), begin.data()));
  o.header = parse_npy_header(begin, path.string());
  require(o.header.shape.size() == 2, ExitCode::bad_data, "{} has {} dimensions; rows have two", path.string(), o.header.shape.size());
  const auto size = static_cast<std::size_t>(std::filesystem::file_size(path));
  const std::size_t item = npy_element_bytes(o.header, path.string());
  require(static_cast<std::size_t>(o.header.count) <= (size - o.header.data_begin) / item, ExitCode::bad_data,
          "{} is truncated: {} bytes of data, its shape needs {} elements of {} bytes", path.string(), size - o.header.data_begin,
          o.header.count, item);
}

NpyRows::~NpyRows() = default;
NpyRows::NpyRows(NpyRows&&) noexcept = default;
NpyRows& NpyRows::operator=(NpyRows&&) noexcept = default;

Index NpyRows::rows() const {
  return opened_->header.shape[0];
}

Index NpyRows::cols() const {
  return opened_->header.shape[1];
}

bool NpyRows::fortran() const {
  return opened_->header.fortran;
}

Dtype NpyRows::dtype() const {
  return npy_elements(opened_->header, {0, cols()}, nullptr, opened_->path.string()).dtype;
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
