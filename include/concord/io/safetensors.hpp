#pragma once
/// The safetensors container: an 8-byte header size, a JSON index, raw little-endian tensors. Local.
/// Source of the format: the safetensors specification (docs/formats.md).

#include "concord/core/dtype.hpp"

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace concord::io {

/// From now on a mapped file that becomes shorter while it is read ends the process with a line and exit code io, not with SIGBUS. Local.
void explain_lost_pages();

/// A tensor inside a mapped file; valid while its SafetensorsFile lives.
struct TensorView {
  Dtype dtype = Dtype::f32;
  std::vector<Index> shape;
  const void* data = nullptr;
  Index count() const;
};

/// One mapped file with a checked index. @throws Error input_missing or bad_data (truncated, overlapping, malformed).
class SafetensorsFile {
public:
  explicit SafetensorsFile(const std::filesystem::path& path);
  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;
  const std::filesystem::path& path() const { return path_; }
  bool has(const std::string& name) const { return tensors_.contains(name); }
  /// @throws Error bad_data naming the tensor and file.
  const TensorView& tensor(const std::string& name) const;
  const std::map<std::string, TensorView>& tensors() const { return tensors_; }

private:
  void index(const char* bytes, std::size_t size);
  std::filesystem::path path_;
  void* map_ = nullptr;
  std::size_t map_size_ = 0;
  std::map<std::string, TensorView> tensors_;
  std::map<std::string, std::string> unknown_; ///< tensors of types that are not read, with their type
};

/// Writes a file whose tensors come piece by piece: for arrays that nobody holds whole. Under its name when finish() has returned.
class SafetensorsWriter {
public:
  /// `tensors`: of any data, which is not looked at; their bytes follow in the order of their names. @throws Error io.
  SafetensorsWriter(std::filesystem::path path, const std::map<std::string, TensorView>& tensors,
                    const std::map<std::string, std::string>& metadata = {});
  /// The next bytes. @throws Error io.
  void append(const void* data, std::uint64_t bytes);
  /// @throws Error io, or internal when fewer or more bytes came than the tensors have.
  void finish();

private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  std::ofstream out_;
  std::uint64_t wanted_ = 0;
  std::uint64_t written_ = 0;
};

/// Writes a file atomically. The views' data must be contiguous row-major. @throws Error io.
void write_safetensors(const std::filesystem::path& path, const std::map<std::string, TensorView>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

} // namespace concord::io
