#pragma once
/// Rows of a .npy with two dimensions, read window by window: memory does not grow with the file. Several threads may read. Local.

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
  NpyRows(NpyRows&&) noexcept;
  NpyRows& operator=(NpyRows&&) noexcept;
  Index rows() const;
  Index cols() const;
  /// Whether columns lie behind one another, so that every row is read in as many pieces as there are columns.
  bool fortran() const;
  /// Of what read() gives. @throws Error bad_data for a type that is not supported.
  Dtype dtype() const;
  /// Rows [begin, begin + count) as parse_npy() gives them. @throws Error bad_data or io.
  NpyArray read(Index begin, Index count) const;

private:
  struct Opened;
  std::unique_ptr<Opened> opened_;
};

} // namespace concord::io
