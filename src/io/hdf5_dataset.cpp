#include "concord/core/run/spent.hpp"
#include "concord/io/hdf5.hpp"

#include "io/hdf5_errors.hpp"
#include "io/hdf5_types.hpp"
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <unistd.h>

namespace concord::io {
namespace {

/// bf16 as an HDF5 float: sign bit 15, exponent bits 7..14, mantissa bits 0..6, bias 127. h5py reads it as float32.
Handle make_half_type(int exponent_bits, std::size_t bias) {
  Handle type(H5Tcopy(H5T_IEEE_F32LE), H5Tclose);
  const auto exponent = static_cast<std::size_t>(exponent_bits);
  H5Tset_fields(type.get(), 15, 15 - exponent, exponent, 0, 15 - exponent);
  H5Tset_precision(type.get(), 16);
  H5Tset_size(type.get(), 2);
  H5Tset_ebias(type.get(), bias);
  return type;
}

} // namespace

Handle hdf5_type(Dtype dtype) {
  switch (dtype) {
  case Dtype::f64:
    return {H5Tcopy(H5T_IEEE_F64LE), H5Tclose};
  case Dtype::f32:
    return {H5Tcopy(H5T_IEEE_F32LE), H5Tclose};
  case Dtype::f16:
    return make_half_type(5, 15);
  case Dtype::bf16:
    return make_half_type(8, 127);
  case Dtype::i64:
    return {H5Tcopy(H5T_STD_I64LE), H5Tclose};
  case Dtype::i32:
    return {H5Tcopy(H5T_STD_I32LE), H5Tclose};
  case Dtype::u32:
    return {H5Tcopy(H5T_STD_U32LE), H5Tclose};
  case Dtype::u8:
    return {H5Tcopy(H5T_STD_U8LE), H5Tclose};
  }
  fail(ExitCode::internal, "no HDF5 type for dtype {}", static_cast<int>(dtype));
}

Dtype dtype_of_hdf5(hid_t type, const std::string& name) {
  const std::size_t size = H5Tget_size(type);
  const H5T_class_t kind = H5Tget_class(type);
  if (kind == H5T_FLOAT && size == 8) return Dtype::f64;
  if (kind == H5T_FLOAT && size == 4) return Dtype::f32;
  if (kind == H5T_FLOAT && size == 2) return H5Tget_ebias(type) == 127 ? Dtype::bf16 : Dtype::f16;
  const bool is_signed = kind == H5T_INTEGER && H5Tget_sign(type) == H5T_SGN_2;
  if (kind == H5T_INTEGER && size == 8 && is_signed) return Dtype::i64;
  if (kind == H5T_INTEGER && size == 4) return is_signed ? Dtype::i32 : Dtype::u32;
  if (kind == H5T_INTEGER && size == 1 && !is_signed) return Dtype::u8;
  fail(ExitCode::bad_data, "dataset {} has an element type that concord does not read", name);
}

Dataset::Dataset(Handle id, std::string name) : id_(std::move(id)), name_(std::move(name)) {
  const Handle space(H5Dget_space(id_.get()), H5Sclose);
  const int rank = H5Sget_simple_extent_ndims(space.get());
  std::vector<hsize_t> dims(static_cast<std::size_t>(std::max(rank, 0)));
  if (rank > 0) H5Sget_simple_extent_dims(space.get(), dims.data(), nullptr);
  dims_.assign(dims.begin(), dims.end());
  const Handle type(H5Dget_type(id_.get()), H5Tclose);
  dtype_ = dtype_of_hdf5(type.get(), name_);
  auto bytes = static_cast<Index>(size_of(dtype_)); // of a row, then of all rows
  for (std::size_t i = 0; i < dims_.size(); ++i) {
    const Index side = dims_[(i + 1) % dims_.size()];
    require(side >= 0 && !__builtin_mul_overflow(bytes, side, &bytes), ExitCode::bad_data, "dataset {} claims more bytes than 2^63", name_);
  }
}

Index Dataset::row_size() const {
  Index size = 1;
  for (std::size_t i = 1; i < dims_.size(); ++i) size *= dims_[i];
  return size;
}

std::uint64_t Dataset::file_offset() const {
  const haddr_t offset = H5Dget_offset(id_.get());
  require(offset != HADDR_UNDEF, ExitCode::bad_data, "dataset {} is not contiguous in its file", name_);
  return offset;
}

void Dataset::check_dtype(Dtype wanted) const {
  require(dtype_ == wanted, ExitCode::bad_data, "dataset {} holds {}, expected {}", name_, name_of(dtype_), name_of(wanted));
}

void Dataset::check_count(Index count) const {
  require(count == rows() * row_size(), ExitCode::internal, "dataset {} holds {} elements, {} were given", name_, rows() * row_size(),
          count);
}

void Dataset::check_rows(Index begin, Index count) const {
  require(begin >= 0 && count >= 0 && begin <= rows() && count <= rows() - begin, ExitCode::internal,
          "dataset {}: {} rows from {} are outside its {} rows", name_, count, begin, rows());
}

void Dataset::read_directly() {
  const Handle creation(H5Dget_create_plist(id_.get()), H5Pclose);
  if (H5Pget_layout(creation.get()) != H5D_CONTIGUOUS || H5Pget_external_count(creation.get()) != 0) return;
  const Handle stored(H5Dget_type(id_.get()), H5Tclose);
  const Handle wanted = hdf5_type(dtype_);
  const haddr_t offset = H5Dget_offset(id_.get());
  if (H5Tequal(stored.get(), wanted.get()) <= 0 || offset == HADDR_UNDEF) return;
  const Handle file(H5Iget_file_id(id_.get()), H5Fclose); // behind an external link it is another file
  const Handle access(H5Fget_access_plist(file.get()), H5Pclose);
  void* descriptor = nullptr;
  if (H5Pget_driver(access.get()) != H5FD_SEC2 || H5Fget_vfd_handle(file.get(), access.get(), &descriptor) < 0) return;
  descriptor_ = *static_cast<const int*>(descriptor);
  offset_ = offset;
}

void Dataset::read_bytes(std::uint64_t offset, char* out, std::size_t bytes) const {
  for (std::size_t done = 0; done < bytes;) {
    const ssize_t got = ::pread(descriptor_, out + done, bytes - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    require(got > 0, ExitCode::io, "cannot read {} bytes of {} from byte {} of its file: {}", bytes, name_, offset,
            got < 0 ? std::strerror(errno) : "the file has become shorter");
    done += static_cast<std::size_t>(got);
  }
}

void Dataset::transfer(Index begin, Index count, void* data, bool writing) const {
  check_rows(begin, count);
  const Spend spend(Spending::files, writing ? "H5Dwrite" : "H5Dread");
  note_file_bytes(count * row_bytes());
  if (descriptor_ >= 0 && !writing)
    return read_bytes(offset_ + static_cast<std::uint64_t>(begin * row_bytes()), static_cast<char*>(data),
                      static_cast<std::size_t>(count * row_bytes()));
  const Handle file_space(H5Dget_space(id_.get()), H5Sclose);
  std::vector<hsize_t> start(std::max<std::size_t>(1, dims_.size()), 0);
  std::vector<hsize_t> extent(dims_.begin(), dims_.end());
  if (extent.empty()) extent = {1};
  start[0] = static_cast<hsize_t>(begin);
  extent[0] = static_cast<hsize_t>(count);
  const Handle memory_space(H5Screate_simple(static_cast<int>(extent.size()), extent.data(), nullptr), H5Sclose);
  if (!dims_.empty()) H5Sselect_hyperslab(file_space.get(), H5S_SELECT_SET, start.data(), nullptr, extent.data(), nullptr);
  const Handle type = hdf5_type(dtype_); // as stored, so that HDF5 moves bytes and converts nothing
  const herr_t status = writing ? H5Dwrite(id_.get(), type.get(), memory_space.get(), file_space.get(), H5P_DEFAULT, data)
                                : H5Dread(id_.get(), type.get(), memory_space.get(), file_space.get(), H5P_DEFAULT, data);
  check(status >= 0, ExitCode::io, "cannot {} rows [{}, {}) of {}{}", writing ? "write" : "read", begin, begin + count, name_,
        writing ? " (is the disk full?)" : "");
}

// HDF5 1.10 over MPI-IO moves at most 2 GiB a call.
static Index rows_a_piece(Index row_bytes) {
  return std::max<Index>(1, (Index{1} << 30) / std::max<Index>(1, row_bytes));
}

void Dataset::read_rows(Index begin, Index count, void* out) const {
  const Index piece = rows_a_piece(row_bytes());
  for (Index done = 0; done < count; done += piece)
    transfer(begin + done, std::min(piece, count - done), static_cast<char*>(out) + done * row_bytes(), false);
}

void Dataset::write_rows(Index begin, Index count, const void* in) {
  const Index piece = rows_a_piece(row_bytes());
  for (Index done = 0; done < count; done += piece)
    transfer(begin + done, std::min(piece, count - done), const_cast<char*>(static_cast<const char*>(in)) + done * row_bytes(), true);
}

void Dataset::append_chunk(Index begin, Index chunk_rows, const std::vector<unsigned char>& filtered) {
  dims_[0] = begin + chunk_rows;
  const Spend spend(Spending::files, "H5Dwrite_chunk");
  note_file_bytes(static_cast<Index>(filtered.size()));
  const std::vector<hsize_t> dims(dims_.begin(), dims_.end());
  const std::vector<hsize_t> offset{static_cast<hsize_t>(begin), 0};
  check(H5Dset_extent(id_.get(), dims.data()) >= 0 &&
            H5Dwrite_chunk(id_.get(), H5P_DEFAULT, /*filters=*/0, offset.data(), filtered.size(), filtered.data()) >= 0,
        ExitCode::io, "cannot write rows from {} of {} (is the disk full?)", begin, name_);
}

} // namespace concord::io
