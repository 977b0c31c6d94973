#pragma once
/// Rows of a .npy with two dimensions, read window by window: memory does not grow with the file. Local.

#include "concord/io/npy/npy.hpp"

#include <filesystem>
#include <memory>
#include <vector>

namespace concord::io {

class NpyRows {
public:
  /// Reads the header. @throws Error input_missing or bad_data: no array, other than two dimensions, truncated.
  explicit NpyRows(const std::filesystem::path& path);
  ~NpyRows();
  Index rows() const;
  Index cols() const;
  /// Rows [begin, begin + count) as parse_npy() gives them. @throws Error bad_data or io.
  NpyArray read(Index begin, Index count) const;

private:
  struct Opened;
  std::unique_ptr<Opened> opened_;
};

} // namespace concord::io
