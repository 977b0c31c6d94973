#pragma once
/// NumPy .npy arrays, .npz archives and scipy.sparse CSR matrices. Local.

#include "concord/core/dtype.hpp"

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace concord::io {

/// A row-major array in memory; 16-bit integers are widened to i32, text is kept as u8 bytes.
struct NpyArray {
  Dtype dtype = Dtype::f32;
  std::vector<Index> shape;
  std::vector<char> bytes;
  Index count() const;
  /// Elements as double from any numeric type.
  std::vector<double> as_double() const;
  /// As float, without a copy as double where the type is floating point.
  std::vector<float> as_float() const;
  /// Elements as Index. @throws Error bad_data for floating point.
  std::vector<Index> as_index() const;
};

/// Parses the bytes of one .npy. `name` is for messages. @throws Error bad_data.
NpyArray parse_npy(const std::vector<char>& bytes, const std::string& name);
/// All members of a .npz by name without ".npy" (stored or deflated, ZIP64). @throws Error input_missing or bad_data.
std::map<std::string, NpyArray> read_npz(const std::filesystem::path& path);

/// Rows of (index, value) pairs: row r is [indptr[r], indptr[r+1]).
struct CsrMatrix {
  Index rows = 0;
  Index cols = 0;
  std::vector<Index> indptr;
  std::vector<std::int32_t> indices;
  std::vector<float> values;
  Index nnz() const { return static_cast<Index>(indices.size()); }
};
/// Whether check_csr() would pass.
bool is_sound(const CsrMatrix& matrix);
/// Checks shape, monotone indptr, index range, that no row names a column twice, and finite values. @throws Error bad_data naming `name`.
void check_csr(const CsrMatrix& matrix, const std::string& name);
/// A matrix saved by scipy.sparse.save_npz in CSR format; stored zeros are dropped. @throws Error bad_data.
CsrMatrix read_scipy_csr(const std::filesystem::path& path);

} // namespace concord::io
