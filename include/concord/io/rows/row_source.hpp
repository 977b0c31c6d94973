#pragma once
/// Rows of a matrix on disk: a dataset of an HDF5 file ("acts.h5:/layer_003/x"), a two-dimensional .npy, or a tensor of a safetensors file
/// ("sae_weights.safetensors:W_dec"). Local.

#include "concord/comm/session.hpp"
#include "concord/core/dtype.hpp"
#include "concord/io/rows/row_kinds.hpp"

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace concord::io {

class RowSource {
public:
  /// @throws Error input_missing, bad_data (not two-dimensional, not floating point) or usage (no dataset named).
  explicit RowSource(const std::string& location);
  ~RowSource();
  RowSource(RowSource&&) noexcept;
  RowSource& operator=(RowSource&&) noexcept;

  const std::string& location() const { return location_; }
  Index rows() const { return rows_; }
  Index cols() const { return cols_; }
  Dtype dtype() const { return dtype_; }
  /// Raw rows [begin, begin + count) as stored.
  void read(Index begin, Index count, void* out) const;
  /// Rows as float, checked. @throws Error bad_data naming file, layer and row when a value is not finite.
  void read_float(Index begin, Index count, std::span<float> out) const;
  /// Kinds of rows [begin, end) when the file says so, else all text.
  std::vector<std::uint8_t> row_kinds(Index begin, Index end) const;
  /// The same, to be handed on; while this lives.
  RowKinds row_kinds() const {
    return [this](Index begin, Index end) { return row_kinds(begin, end); };
  }
  /// Identity of the content: stage digest and dataset, or file digest. The first call may read the whole file.
  const std::string& digest() const;
  /// Attribute of the file, or "" when it has none.
  std::string attribute(const std::string& name) const;

private:
  struct Storage;
  std::string location_;
  Index rows_ = 0;
  Index cols_ = 0;
  Dtype dtype_ = Dtype::f32;
  mutable std::string digest_; ///< "" until it is asked for
  std::unique_ptr<Storage> storage_;
};

/// Reads the bytes that digest() of these rows needs, a part on each rank; digest() is then at hand. Collective over `comm`.
/// @throws Error as file_digest() does.
void share_digest_of_rows(const comm::Communicator& comm, const std::string& location);

/// Throws Error bad_data naming the location and the row when a value of rows [first_row, ...) is not finite. Local.
void check_finite(std::span<const float> values, Index cols, Index first_row, const std::string& location);

} // namespace concord::io
