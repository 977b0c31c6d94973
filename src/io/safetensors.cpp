#include "concord/io/safetensors.hpp"

#include "concord/core/error.hpp"
#include "concord/core/fields.hpp"
#include "concord/core/json_text.hpp"
#include "concord/core/text.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <set>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace concord::io {

namespace {

extern "C" void concord_on_lost_page(int /*signal*/) {
  constexpr char message[] =
      "concord: error: an input file became shorter while it was read, or its disk failed; put it back and run again\n";
  if (::write(STDERR_FILENO, message, sizeof message - 1) < 0) ::_exit(static_cast<int>(ExitCode::internal));
  ::_exit(static_cast<int>(ExitCode::io));
}

} // namespace

void explain_lost_pages() {
  struct sigaction action {};
  action.sa_handler = concord_on_lost_page;
  action.sa_flags = SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, nullptr);
}

Index TensorView::count() const {
  Index n = 1;
  for (const Index s : shape) n *= s;
  return n;
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : path_(path) {
  const int fd = ::open(path.c_str(), O_RDONLY);
  require(fd >= 0, ExitCode::input_missing, "cannot open {}: {}", path.string(), std::strerror(errno));
  struct stat info {};
  ::fstat(fd, &info);
  map_size_ = static_cast<std::size_t>(info.st_size);
  if (map_size_ >= 8) map_ = ::mmap(nullptr, map_size_, PROT_READ, MAP_PRIVATE, fd, 0);
  ::close(fd);
  require(map_size_ >= 8, ExitCode::bad_data, "{} is truncated: {} bytes are no safetensors file", path.string(), map_size_);
  require(map_ != MAP_FAILED, ExitCode::io, "cannot map {}: {}", path.string(), std::strerror(errno));
  try {
    index(static_cast<const char*>(map_), map_size_);
  } catch (...) {
    ::munmap(map_, map_size_);
    throw;
  }
}

SafetensorsFile::~SafetensorsFile() {
  ::munmap(map_, map_size_);
}

namespace {

bool known_dtype(const std::string& name) {
  static const std::set<std::string> names{"F64", "F32", "F16", "BF16", "I64", "I32", "U32", "U8"};
  return names.contains(name);
}

/// nlohmann would take -1 and 2.5 for one.
std::uint64_t unsigned_number(const nlohmann::json& value) {
  if (!value.is_number_unsigned()) throw nlohmann::json::type_error::create(302, "a whole number from 0 on is needed", &value);
  return value.get<std::uint64_t>();
}

} // namespace

void SafetensorsFile::index(const char* bytes, std::size_t size) {
  const std::string file = path_.string();
  std::uint64_t header_size = 0;
  std::memcpy(&header_size, bytes, 8);
  require(header_size <= size - 8 && header_size < (std::uint64_t{1} << 30), ExitCode::bad_data,
          "{} is truncated or no safetensors file: its header claims {} bytes, the file has {}", file, header_size, size);
  const auto header = parse_json({bytes + 8, header_size});
  require(header.is_object(), ExitCode::bad_data, "{}: the header is not valid JSON", file);
  const std::size_t data_size = size - 8 - header_size;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> extents;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    try {
      const auto dtype_name = entry.at("dtype").get<std::string>();
      const auto begin = unsigned_number(entry.at("data_offsets").at(0));
      const auto end = unsigned_number(entry.at("data_offsets").at(1));
      if (begin < end) extents.emplace_back(begin, end);
      if (!known_dtype(dtype_name)) { // said when it is asked for
        unknown_.emplace(name, dtype_name);
        continue;
      }
      TensorView view{parse_dtype(dtype_name), {}, nullptr};
      Index count = 1;
      for (const auto& side : entry.at("shape")) {
        view.shape.push_back(static_cast<Index>(unsigned_number(side)));
        require(view.shape.back() >= 0 && !__builtin_mul_overflow(count, view.shape.back(), &count) && count <= (Index{1} << 60),
                ExitCode::bad_data, "{}: the shape of tensor {} is larger than any file", file, name);
      }
      require(begin <= end && end <= data_size, ExitCode::bad_data,
              "{} is truncated: tensor {} ends at byte {} of {} (copy the file again)", file, name, end, data_size);
      require(view.count() >= 0 && static_cast<std::uint64_t>(view.count()) * size_of(view.dtype) == end - begin, ExitCode::bad_data,
              "{}: tensor {} has {} bytes, its shape needs {}", file, name, end - begin,
              static_cast<std::uint64_t>(view.count()) * size_of(view.dtype));
      view.data = bytes + 8 + header_size + begin;
      tensors_.emplace(name, std::move(view));
    } catch (const nlohmann::json::exception& error) {
      fail(ExitCode::bad_data, "{}: the entry of tensor {} is malformed: {}", file, name, error.what());
    }
  }
  std::sort(extents.begin(), extents.end());
  for (std::size_t i = 1; i < extents.size(); ++i)
    require(extents[i - 1].second <= extents[i].first, ExitCode::bad_data, "{}: two tensors share the byte {}", file, extents[i].first);
}

const TensorView& SafetensorsFile::tensor(const std::string& name) const {
  const auto found = tensors_.find(name);
  const auto unknown = unknown_.find(name);
  require(unknown == unknown_.end(), ExitCode::bad_data,
          "{}: tensor {} is of type {}, which concord does not read; convert it to bf16 or f32", path_.string(), name,
          unknown == unknown_.end() ? "" : unknown->second);
  require(found != tensors_.end(), ExitCode::bad_data, "{} has no tensor {}", path_.string(), name);
  return found->second;
}

SafetensorsWriter::SafetensorsWriter(std::filesystem::path path, const std::map<std::string, TensorView>& tensors,
                                     const std::map<std::string, std::string>& metadata)
    : path_(std::move(path)), temporary_(path_.string() + ".new"), out_(temporary_, std::ios::binary | std::ios::trunc) {
  nlohmann::json header;
  for (const auto& [name, tensor] : tensors) {
    std::string dtype(name_of(tensor.dtype));
    for (char& letter : dtype) letter = static_cast<char>(std::toupper(static_cast<unsigned char>(letter)));
    const std::uint64_t bytes = static_cast<std::uint64_t>(tensor.count()) * size_of(tensor.dtype);
    header[name] = {{"dtype", dtype}, {"shape", tensor.shape}, {"data_offsets", {wanted_, wanted_ + bytes}}};
    wanted_ += bytes;
  }
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::string text = json_text(header);
  text.resize((text.size() + 7) / 8 * 8, ' '); // the specification asks for aligned data
  const std::uint64_t size = text.size();
  wanted_ += 8 + size;
  append(&size, 8);
  append(text.data(), size);
}

void SafetensorsWriter::append(const void* data, std::uint64_t bytes) {
  out_.write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes));
  require(out_.good(), ExitCode::io, "cannot write {}: {} (is the disk full?)", temporary_.string(), std::strerror(errno));
  written_ += bytes;
}

void SafetensorsWriter::finish() {
  require(written_ == wanted_, ExitCode::internal, "{}: {} bytes came for tensors of {}", temporary_.string(), written_, wanted_);
  out_.flush();
  require(out_.good(), ExitCode::io, "cannot write {}: {} (is the disk full?)", temporary_.string(), std::strerror(errno));
  out_.close();
  sync_path(temporary_);
  std::filesystem::rename(temporary_, path_);
}

void write_safetensors(const std::filesystem::path& path, const std::map<std::string, TensorView>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  SafetensorsWriter writer(path, tensors, metadata);
  for (const auto& [name, tensor] : tensors) writer.append(tensor.data, static_cast<std::uint64_t>(tensor.count()) * size_of(tensor.dtype));
  writer.finish();
}

} // namespace concord::io
