#pragma once
// What the fuzz targets share: the bytes become a file in a folder of the process's own, and concord::Error is the right answer to bad
// input. Any other exception leaves the target and ends the fuzzer; so does an Error of code internal, which blames concord.

#include "concord/core/error.hpp"
#include "concord/core/log.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <unistd.h>
#include <utility>

namespace concord::fuzz {

/// Below /dev/shm where there is one, since a file is written for each input; removed at the end.
class Folder {
public:
  Folder() {
    const bool memory = ::access("/dev/shm", W_OK) == 0;
    path_ = (memory ? std::filesystem::path("/dev/shm") : std::filesystem::temp_directory_path()) /
            ("concord-fuzz-" + std::to_string(::getpid()));
    std::filesystem::create_directories(path_);
    set_log_level("error");
  }
  ~Folder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::filesystem::path& path() const { return path_; }

private:
  std::filesystem::path path_;
};

inline const std::filesystem::path& folder() {
  static const Folder instance;
  return instance.path();
}

/// Writes a file anew and gives its path.
inline std::filesystem::path file(const std::string& name, std::string_view bytes) {
  auto path = folder() / name;
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  return path;
}

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// One input may hold two files: a size of 4 bytes, the first file, the second.
inline std::pair<std::string_view, std::string_view> two_of(const std::uint8_t* data, std::size_t size) {
  if (size < 4) return {text_of(data, size), {}};
  const std::size_t first = data[0] | data[1] << 8 | data[2] << 16;
  const auto rest = text_of(data + 4, size - 4);
  return {rest.substr(0, first), rest.substr(std::min(first, rest.size()))};
}

/// Calls a reader. With CONCORD_FUZZ_SHOW set it says why an input is refused: fuzz_npy FILE.
template <typename Reader>
void expect_error_or_result(Reader&& reader) {
  try {
    reader();
  } catch (const Error& error) {
    if (std::getenv("CONCORD_FUZZ_SHOW") != nullptr) std::fprintf(stderr, "%s\n", error.what());
    if (error.code() != ExitCode::internal) return;
    std::fprintf(stderr, "concord blames itself for an input: %s\n", error.what());
    std::abort();
  }
}

} // namespace concord::fuzz
