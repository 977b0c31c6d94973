#pragma once
// An array that NumPy saved, whole.

#include "concord/core/text.hpp"
#include "concord/io/npy/npy.hpp"

namespace concord::test {

inline io::NpyArray read_npy(const std::filesystem::path& path) {
  const std::string text = read_text(path, "array");
  return io::parse_npy({text.begin(), text.end()}, path.string());
}

} // namespace concord::test
