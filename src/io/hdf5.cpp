#include "concord/io/hdf5.hpp"

#include "concord/comm/collectives.hpp"
#include "concord/comm/failing_together.hpp"
#include "concord/comm/files_together.hpp"

#include "io/file_system.hpp"
#include "io/hdf5_errors.hpp"
#include "io/hdf5_refused.hpp"
#include "io/hdf5_types.hpp"
#include <algorithm>
#include <array>
#include <exception>
#include <optional>

namespace concord::io {
namespace {

Handle parallel_access(const comm::Communicator& comm) {
  Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_fapl_mpio(access.get(), comm, MPI_INFO_NULL);
  return access;
}

constexpr hsize_t most_packed = 2048; // deflate makes 1032 bytes of one at most

/// HDF5 reads fill values where a source of a virtual dataset is missing, and says nothing. Nor does it see that the sources are too small.
void check_sources(hid_t dataset, const std::filesystem::path& path, const std::string& name, Index bytes) {
  const Handle creation(H5Dget_create_plist(dataset), H5Pclose);
  if (H5Pget_layout(creation.get()) != H5D_VIRTUAL) return;
  std::size_t count = 0;
  check(H5Pget_virtual_count(creation.get(), &count) >= 0, ExitCode::io, "cannot read the sources of {}:{}", path.string(), name);
  std::string last;
  hsize_t held = 0; // by the sources' files
  for (std::size_t i = 0; i < count; ++i) {
    std::string source(static_cast<std::size_t>(std::max<ssize_t>(0, H5Pget_virtual_filename(creation.get(), i, nullptr, 0))), '\0');
    H5Pget_virtual_filename(creation.get(), i, source.data(), source.size() + 1);
    if (source == last) continue;
    require(std::filesystem::exists(path.parent_path() / source), ExitCode::input_missing,
            "{}:{} shows rows of {}, which is not there; the folder {} belongs to the file", path.string(), name,
            (path.parent_path() / source).string(), std::filesystem::path(source).parent_path().string());
    last = source;
    std::error_code no_file; // a folder of that name: HDF5 reads fill values, too
    const auto size = std::filesystem::file_size(path.parent_path() / source, no_file);
    held += no_file ? 0 : size;
  }
  require(static_cast<hsize_t>(bytes) / most_packed <= held, ExitCode::bad_data,
          "dataset {}:{} claims {} bytes, of which its files hold {}", path.string(), name, bytes, held);
}

/// Memory is taken by what a file claims, so it must be there: bytes of the file, unpacked as far as deflate can.
void check_stored(hid_t dataset, const std::string& name, Index rows, Index bytes) {
  constexpr Index most_empty = Index{1} << 32; // rows without a byte: somebody counts them
  require(bytes > 0 || rows <= most_empty, ExitCode::bad_data, "dataset {} claims {} rows without a byte", name, rows);
  const Handle creation(H5Dget_create_plist(dataset), H5Pclose);
  const H5D_layout_t layout = H5Pget_layout(creation.get());
  if (layout == H5D_VIRTUAL || bytes == 0) return;
  require(H5Pget_external_count(creation.get()) == 0, ExitCode::bad_data,
          "dataset {} keeps its rows in a raw file, which concord does not read", name);
  const Handle file(H5Iget_file_id(dataset), H5Fclose); // behind an external link it is another file
  hsize_t file_bytes = 0;
  check(H5Fget_filesize(file.get(), &file_bytes) >= 0, ExitCode::io, "cannot ask for the size of the file of dataset {}", name);
  const hsize_t stored = H5Dget_storage_size(dataset);
  const bool packed = layout == H5D_CHUNKED && H5Pget_nfilters(creation.get()) > 0;
  require(stored <= file_bytes && static_cast<hsize_t>(bytes) <= stored * (packed ? most_packed : 1), ExitCode::bad_data,
          "dataset {} claims {} bytes, of which the file holds {}; make the file again", name, bytes, stored);
}

} // namespace

/// HDF5 locks every file by flock(2) while it is open, unless HDF5_USE_FILE_LOCKING says FALSE.
void refuse_file(const std::filesystem::path& path, ExitCode code, const std::string& text) {
  const std::string reason = hdf5_reason();
  if (reason.find("unable to lock file") == std::string::npos) throw Error(code, text + ": " + reason);
  fail(ExitCode::io,
       "cannot lock {} (file system: {}): {}; another program has it open, or the file system has no locks (NFS, Lustre): then set "
       "HDF5_USE_FILE_LOCKING=FALSE for all ranks",
       path.string(), file_system_of(path), reason);
}

File File::open(const std::filesystem::path& path, Mode mode) {
  silence_hdf5();
  require(std::filesystem::exists(path), ExitCode::input_missing, "there is no file {}", path.string());
  Handle id(H5Fopen(path.c_str(), mode == Mode::read ? H5F_ACC_RDONLY : H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
  if (!id) refuse_file(path, ExitCode::bad_data, fmt::format("cannot open {} as HDF5 (truncated, or no HDF5 file)", path.string()));
  return {std::move(id), path, mode == Mode::read};
}

namespace {

/// Ranks close a parallel file together. Behind an error of this rank alone the others never come: the file stays open, and the job ends.
herr_t close_together(hid_t id) {
  if (std::uncaught_exceptions() == 0 || comm::failing_together()) {
    std::array<char, 4096> path{};
    H5Fget_name(id, path.data(), path.size());
    const comm::FilesTogether together(fmt::format("cannot close {} (is the disk full?)", path.data()));
    return H5Fclose(id);
  }
  Handle::close_failed() = true;
  return 0;
}

} // namespace

File File::open_parallel(const std::filesystem::path& path, const comm::Communicator& comm) {
  silence_hdf5();
  const Handle access = parallel_access(comm);
  std::optional<comm::FilesTogether> together; // one rank has nobody to leave waiting
  if (comm.size() > 1) together.emplace(fmt::format("cannot open {} for writing", path.string()));
  Handle id(H5Fopen(path.c_str(), H5F_ACC_RDWR, access.get()), comm.size() > 1 ? close_together : H5Fclose);
  if (!id) refuse_file(path, ExitCode::io, fmt::format("cannot open {} for writing", path.string()));
  File file(std::move(id), path);
  file.parallel_ = comm.size() > 1;
  return file;
}

File File::create(const std::filesystem::path& path, Index alignment) {
  silence_hdf5();
  const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_alignment(access.get(), static_cast<hsize_t>(alignment), static_cast<hsize_t>(alignment));
  Handle id(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.get()), H5Fclose);
  if (!id) refuse_file(path, ExitCode::io, fmt::format("cannot create {}", path.string()));
  return {std::move(id), path};
}

bool File::has(const std::string& name) const {
  std::size_t position = 0;
  while (true) { // H5Lexists needs every group on the way to exist
    position = name.find('/', position + 1);
    const std::string prefix = name.substr(0, position);
    const auto there = H5Lexists(id_.get(), prefix.c_str(), H5P_DEFAULT);
    if (there < 0) { // what is on the way is no group or a link to nothing; or it is one, and damaged or not to be read
      const Handle parent(H5Oopen(id_.get(), std::max<std::string>("/", prefix.substr(0, prefix.rfind('/'))).c_str(), H5P_DEFAULT),
                          H5Oclose);
      require(!parent || H5Iget_type(parent.get()) != H5I_GROUP, ExitCode::io, "cannot look for {} in {}: its disk fails, or it is damaged",
              prefix, path_.string());
    }
    if (there <= 0) return false;
    if (position == std::string::npos) return true;
  }
}

Dataset File::dataset(const std::string& name) const {
  Handle id(H5Dopen2(id_.get(), name.c_str(), H5P_DEFAULT), H5Dclose);
  check(static_cast<bool>(id), ExitCode::bad_data, "{} has no dataset {}", path_.string(), name);
  const hid_t opened = id.get();
  Dataset dataset(std::move(id), path_.string() + ":" + name);
  const Index bytes = dataset.rows() * dataset.row_bytes();
  check_sources(opened, path_, name, bytes);
  if (reading_) {
    check_stored(opened, dataset.name(), dataset.rows(), bytes);
    dataset.read_directly();
  }
  return dataset;
}

Dataset File::dataset(const std::string& name, const std::vector<Index>& dims) const {
  auto found = dataset(name);
  const bool fits = std::ranges::equal(found.dims(), dims, [](Index side, Index wanted) { return wanted < 0 || side == wanted; });
  require(fits, ExitCode::bad_data, "dataset {} has shape [{}], which does not fit the rest of its file", found.name(),
          fmt::join(found.dims(), ", "));
  return found;
}

Dataset File::create_packed_dataset(const std::string& name, Index row_size, Index chunk_rows, Dtype dtype, int level) {
  const hsize_t extent[2] = {0, static_cast<hsize_t>(row_size)};
  const hsize_t most[2] = {H5S_UNLIMITED, static_cast<hsize_t>(row_size)};
  const hsize_t chunk[2] = {static_cast<hsize_t>(chunk_rows), static_cast<hsize_t>(row_size)};
  const Handle space(H5Screate_simple(2, extent, most), H5Sclose);
  const Handle links(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
  H5Pset_create_intermediate_group(links.get(), 1);
  const Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_chunk(creation.get(), 2, chunk);
  H5Pset_shuffle(creation.get());
  H5Pset_deflate(creation.get(), static_cast<unsigned>(level));
  const Handle type = hdf5_type(dtype);
  Handle id(H5Dcreate2(id_.get(), name.c_str(), type.get(), space.get(), links.get(), creation.get(), H5P_DEFAULT), H5Dclose);
  check(static_cast<bool>(id), ExitCode::io, "cannot create the dataset {} in {}", name, path_.string());
  return {std::move(id), path_.string() + ":" + name};
}

void File::create_virtual_dataset(const std::string& name, const std::vector<Index>& dims, Dtype dtype,
                                  const std::vector<VirtualPiece>& pieces) {
  const std::vector<hsize_t> extent(dims.begin(), dims.end());
  const Handle space(H5Screate_simple(static_cast<int>(extent.size()), extent.data(), nullptr), H5Sclose);
  const Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  for (const VirtualPiece& piece : pieces) {
    auto source_extent = extent;
    source_extent[0] = static_cast<hsize_t>(piece.source_rows);
    const Handle source(H5Screate_simple(static_cast<int>(source_extent.size()), source_extent.data(), nullptr), H5Sclose);
    auto count = extent;
    count[0] = static_cast<hsize_t>(piece.count);
    std::vector<hsize_t> start(extent.size(), 0);
    start[0] = static_cast<hsize_t>(piece.source_begin);
    H5Sselect_hyperslab(source.get(), H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr);
    start[0] = static_cast<hsize_t>(piece.begin);
    H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr);
    check(H5Pset_virtual(creation.get(), space.get(), piece.file.c_str(), piece.dataset.c_str(), source.get()) >= 0, ExitCode::io,
          "cannot show rows of {} in {}", piece.file, path_.string());
  }
  H5Sselect_all(space.get());
  const Handle links(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
  H5Pset_create_intermediate_group(links.get(), 1);
  const Handle type = hdf5_type(dtype);
  const Handle id(H5Dcreate2(id_.get(), name.c_str(), type.get(), space.get(), links.get(), creation.get(), H5P_DEFAULT), H5Dclose);
  check(static_cast<bool>(id), ExitCode::io, "cannot create the dataset {} in {}", name, path_.string());
}

Dataset File::create_dataset(const std::string& name, const std::vector<Index>& dims, Dtype dtype) {
  const std::vector<hsize_t> extent(dims.begin(), dims.end());
  const Handle space(H5Screate_simple(static_cast<int>(extent.size()), extent.data(), nullptr), H5Sclose);
  const Handle links(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
  H5Pset_create_intermediate_group(links.get(), 1);
  const Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_alloc_time(creation.get(), H5D_ALLOC_TIME_EARLY);
  H5Pset_fill_time(creation.get(), H5D_FILL_TIME_NEVER);
  const Handle type = hdf5_type(dtype);
  Handle id(H5Dcreate2(id_.get(), name.c_str(), type.get(), space.get(), links.get(), creation.get(), H5P_DEFAULT), H5Dclose);
  check(static_cast<bool>(id), ExitCode::io, "cannot create the dataset {} in {}", name, path_.string());
  return {std::move(id), path_.string() + ":" + name};
}

void File::create_external_link(const std::string& name, const std::string& file, const std::string& target) {
  check(H5Lcreate_external(file.c_str(), target.c_str(), id_.get(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT) >= 0, ExitCode::io,
        "cannot link {} in {}", name, path_.string());
}

void File::write_strings(const std::string& name, const std::vector<std::string>& values) {
  std::vector<Index> ends;
  std::vector<std::uint8_t> bytes;
  for (const auto& value : values) {
    bytes.insert(bytes.end(), value.begin(), value.end());
    ends.push_back(static_cast<Index>(bytes.size()));
  }
  if (bytes.empty()) bytes.push_back(0);
  write(name + "/bytes", bytes);
  write(name + "/ends", ends);
}

std::vector<std::string> File::read_strings(const std::string& name) const {
  const auto bytes = read<std::uint8_t>(name + "/bytes", {-1});
  const auto ends = read<Index>(name + "/ends", {-1});
  std::vector<std::string> values;
  values.reserve(ends.size());
  Index begin = 0;
  for (const Index end : ends) {
    require(begin <= end && end <= static_cast<Index>(bytes.size()), ExitCode::bad_data, "{}:{} is damaged", path_.string(), name);
    values.emplace_back(bytes.begin() + begin, bytes.begin() + end);
    begin = end;
  }
  return values;
}

std::vector<std::string> File::members(const std::string& group) const {
  const Handle id(H5Gopen2(id_.get(), group.c_str(), H5P_DEFAULT), H5Gclose);
  check(static_cast<bool>(id), ExitCode::bad_data, "{} has no group {}", path_.string(), group);
  std::vector<std::string> names;
  const auto done = H5Literate(
      id.get(), H5_INDEX_NAME, H5_ITER_INC, nullptr,
      [](hid_t, const char* name, const H5L_info_t*, void* out) -> herr_t {
        static_cast<std::vector<std::string>*>(out)->emplace_back(name);
        return 0;
      },
      &names);
  check(done >= 0, ExitCode::io, "cannot list the group {} of {}", group, path_.string());
  return names;
}

namespace {

void require_flushed(bool ok, const std::filesystem::path& path) {
  check(ok, ExitCode::io, "cannot flush {} (is the disk full?)", path.string());
}

} // namespace

bool File::flushed() {
  std::optional<comm::FilesTogether> together;
  if (parallel_) together.emplace(fmt::format("cannot flush {} (is the disk full?)", path_.string()));
  return H5Fflush(id_.get(), H5F_SCOPE_GLOBAL) >= 0;
}

void File::flush() {
  // A dataset that could not be closed has lost what its buffer held, and is forgotten.
  require_flushed(flushed() && !Handle::close_failed(), path_);
}

void File::close() {
  if (!id_) return;
  require_flushed(flushed(), path_); // a rank that fails here alone must not wait for the others to close
  id_.reset();                       // which writes once more
  require_flushed(!Handle::close_failed(), path_);
}

std::string hdf5_version() {
  unsigned major = 0;
  unsigned minor = 0;
  unsigned release = 0;
  H5get_libversion(&major, &minor, &release);
  return fmt::format("{}.{}.{}", major, minor, release);
}

} // namespace concord::io
