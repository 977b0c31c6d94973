#pragma once
/// HDF5 files and row-major datasets with RAII; serial for reading, serial or MPI-parallel for writing.

#include "concord/comm/session.hpp"
#include "concord/core/dtype.hpp"

#include <hdf5.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace concord::io {

/// An HDF5 identifier closed with its own function. Move-only.
class Handle {
public:
  /// Whether an object could not be closed (a full disk): the library then crashes where it ends, so the process must not let it.
  static bool& close_failed() {
    static bool failed = false;
    return failed;
  }
  using Closer = herr_t (*)(hid_t);
  Handle() = default;
  Handle(hid_t id, Closer closer) : id_(id), closer_(closer) {}
  Handle(Handle&& other) noexcept { swap(other); }
  Handle& operator=(Handle&& other) noexcept {
    swap(other);
    return *this;
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() { reset(); }
  hid_t get() const { return id_; }
  explicit operator bool() const { return id_ >= 0; }
  void reset() {
    if (id_ >= 0 && closer_ != nullptr && closer_(id_) < 0) close_failed() = true;
    id_ = -1;
  }

private:
  void swap(Handle& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(closer_, other.closer_);
  }
  hid_t id_ = -1;
  Closer closer_ = nullptr;
};

/// A dataset whose first dimension is rows. Elements move as raw bytes of the stored type; no conversion by HDF5.
class Dataset {
public:
  Dataset(Handle id, std::string name);
  const std::string& name() const { return name_; }
  const std::vector<Index>& dims() const { return dims_; }
  Index rows() const { return dims_.empty() ? 1 : dims_[0]; }
  /// Elements of one row.
  Index row_size() const;
  Dtype dtype() const { return dtype_; }
  Index row_bytes() const { return row_size() * static_cast<Index>(size_of(dtype_)); }
  /// Where the rows begin in the file; known because datasets are contiguous and allocated at once.
  std::uint64_t file_offset() const;

  /// Reads rows [begin, begin + count) into `out` (count * row_bytes()). Local. @throws Error io.
  void read_rows(Index begin, Index count, void* out) const;
  /// Writes rows [begin, begin + count). Local (independent). @throws Error io.
  void write_rows(Index begin, Index count, const void* in);

  /// Makes the dataset longer by a chunk that is already filtered (create_packed_dataset). Local. @throws Error io.
  void append_chunk(Index begin, Index chunk_rows, const std::vector<unsigned char>& filtered);

  /// All elements as T. @throws Error bad_data when the stored type is another.
  template <typename T>
  std::vector<T> read_all() const {
    check_dtype(dtype_of<T>());
    std::vector<T> values(static_cast<std::size_t>(rows() * row_size()));
    read_rows(0, rows(), values.data());
    return values;
  }
  template <typename T>
  std::vector<T> read(Index begin, Index count) const {
    check_dtype(dtype_of<T>());
    check_rows(begin, count); // before memory is taken by it
    std::vector<T> values(static_cast<std::size_t>(count * row_size()));
    read_rows(begin, count, values.data());
    return values;
  }
  template <typename T>
  void write_all(const std::vector<T>& values) {
    check_dtype(dtype_of<T>());
    check_count(static_cast<Index>(values.size()));
    write_rows(0, rows(), values.data());
  }

private:
  friend class File;
  /// From now on rows are read past HDF5, where they lie in one piece and are stored as they are read: small reads are
  /// faster so. What this process has written to the file and HDF5 still holds is not seen.
  void read_directly();
  void transfer(Index begin, Index count, void* data, bool writing) const;
  void read_bytes(std::uint64_t offset, char* out, std::size_t bytes) const;
  void check_dtype(Dtype wanted) const;
  void check_count(Index count) const;
  void check_rows(Index begin, Index count) const;
  Handle id_;
  std::string name_;
  std::vector<Index> dims_;
  Dtype dtype_ = Dtype::f32;
  int descriptor_ = -1; ///< of the file, open as long as the dataset is; -1: rows are read by HDF5
  std::uint64_t offset_ = 0;
};

/// Rows of a dataset of another file that a virtual dataset shows.
struct VirtualPiece {
  Index begin = 0;     ///< first row of the virtual dataset
  Index count = 0;     ///< rows
  std::string file;    ///< relative to the folder of the file with the virtual dataset
  std::string dataset; ///< in that file
  Index source_begin = 0;
  Index source_rows = 0; ///< all rows of the source
};

class File {
public:
  enum class Mode { read, write };
  /// Opens a file on this rank alone. @throws Error input_missing, or bad_data when it is no HDF5 file.
  static File open(const std::filesystem::path& path, Mode mode = Mode::read);
  /// Opens for writing by all ranks through MPI-IO. Collective over `comm`.
  static File open_parallel(const std::filesystem::path& path, const comm::Communicator& comm);
  /// Creates or replaces; large datasets begin at multiples of `alignment` bytes. Local.
  static File create(const std::filesystem::path& path, Index alignment = 1);

  const std::filesystem::path& path() const { return path_; }
  bool has(const std::string& name) const;
  /// @throws Error bad_data when it is not there, or claims more than the file holds (of a file opened for reading); input_missing when it
  /// shows rows of a file that is not there (HDF5 would read zeros).
  Dataset dataset(const std::string& name) const;
  /// The same, with these sides; -1 stands for any. @throws Error bad_data, also when it has others: numbers of another shape mean others.
  Dataset dataset(const std::string& name, const std::vector<Index>& dims) const;
  /// Allocates a contiguous dataset at once, so that later writes touch raw data only and no metadata; a process killed
  /// while writing leaves a file that opens. Missing groups are made.
  Dataset create_dataset(const std::string& name, const std::vector<Index>& dims, Dtype dtype);
  /// A dataset [0, row_size] that grows by chunks [chunk_rows, row_size] under shuffle and deflate. Local.
  Dataset create_packed_dataset(const std::string& name, Index row_size, Index chunk_rows, Dtype dtype, int level);
  /// A dataset that shows rows of other files. Local.
  void create_virtual_dataset(const std::string& name, const std::vector<Index>& dims, Dtype dtype,
                              const std::vector<VirtualPiece>& pieces);
  /// A link to an object of another file beside this one.
  void create_external_link(const std::string& name, const std::string& file, const std::string& target);
  template <typename T>
  void write(const std::string& name, const std::vector<T>& values, std::vector<Index> dims = {}) {
    if (dims.empty()) dims = {static_cast<Index>(values.size())};
    create_dataset(name, dims, dtype_of<T>()).write_all(values);
  }
  template <typename T>
  std::vector<T> read(const std::string& name) const {
    return dataset(name).read_all<T>();
  }
  /// All elements of a dataset with these sides, as of dataset().
  template <typename T>
  std::vector<T> read(const std::string& name, const std::vector<Index>& dims) const {
    return dataset(name, dims).read_all<T>();
  }
  void write_strings(const std::string& name, const std::vector<std::string>& values);
  std::vector<std::string> read_strings(const std::string& name) const;

  void write_attribute(const std::string& name, const std::string& value, const std::string& object = "/");
  std::string attribute(const std::string& name, const std::string& object = "/") const;
  bool has_attribute(const std::string& name, const std::string& object = "/") const;
  /// An attribute that holds a whole number, or a list of them. @throws Error bad_data naming the file and the attribute.
  Index integer(const std::string& attribute_name) const;
  std::vector<int> integers(const std::string& attribute_name) const;
  /// Names of the members of a group, sorted.
  std::vector<std::string> members(const std::string& group = "/") const;
  /// Both: collective for parallel files, whose job ends with 74 where one rank cannot write. @throws Error io.
  void flush();
  void close();

private:
  File(Handle id, std::filesystem::path path, bool reading = false) : id_(std::move(id)), path_(std::move(path)), reading_(reading) {}
  bool flushed();
  Handle id_;
  std::filesystem::path path_;
  bool parallel_ = false; ///< other ranks have it open, too
  bool reading_ = false;  ///< nobody here writes it: what it claims is checked
};

std::string hdf5_version();

} // namespace concord::io
