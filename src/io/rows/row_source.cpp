#include "concord/io/rows/row_source.hpp"

#include "concord/comm/decided.hpp"
#include "concord/core/digest.hpp"
#include "concord/core/error.hpp"
#include "concord/io/file_digest.hpp"
#include "concord/io/hdf5.hpp"
#include "concord/io/npy/npy_rows.hpp"
#include "concord/io/safetensors.hpp"

#include <cmath>
#include <cstring>
#include <optional>

namespace concord::io {

namespace {

/// "x.safetensors:W_dec" or "x.h5:/rows" as file and the rest; the rest of a .npy is empty.
std::pair<std::string, std::string> file_and_rest(const std::string& location) {
  if (const auto colon = location.rfind(":/"); colon != std::string::npos) return {location.substr(0, colon), location.substr(colon + 1)};
  const auto tensor = location.rfind(".safetensors:");
  const auto end = tensor == std::string::npos ? location.size() : location.find(':', tensor);
  return {location.substr(0, end), location.substr(end)};
}

} // namespace

struct RowSource::Storage {
  std::optional<File> file;
  std::optional<Dataset> dataset;
  std::optional<Dataset> row_kinds;
  std::optional<NpyRows> array;
  NpyArray whole; ///< of a .npy in Fortran order, in which a row lies scattered
  std::unique_ptr<SafetensorsFile> tensors;
  const char* tensor = nullptr;
};

RowSource::RowSource(const std::string& location) : location_(location), storage_(std::make_unique<Storage>()) {
  const std::size_t colon = location.rfind(":/");
  std::vector<Index> shape;
  if (colon != std::string::npos) {
    storage_->file = File::open(location.substr(0, colon));
    const File& file = *storage_->file;
    storage_->dataset = file.dataset(location.substr(colon + 1));
    shape = storage_->dataset->dims();
    dtype_ = storage_->dataset->dtype();
    if (file.has("/row_kind")) storage_->row_kinds = file.dataset("/row_kind");
    if (file.has_attribute("stage_digest")) digest_ = digest_of(file.attribute("stage_digest") + location.substr(colon + 1));
  } else if (const auto tensor = location.rfind(".safetensors:"); tensor != std::string::npos) {
    const auto path = location.substr(0, location.find(':', tensor));
    storage_->tensors = std::make_unique<SafetensorsFile>(path);
    const auto& found = storage_->tensors->tensor(location.substr(path.size() + 1));
    storage_->tensor = static_cast<const char*>(found.data);
    shape = found.shape;
    dtype_ = found.dtype;
  } else if (location.ends_with(".npy")) {
    storage_->array.emplace(location);
    shape = {storage_->array->rows(), storage_->array->cols()};
    dtype_ = storage_->array->dtype();
    if (storage_->array->fortran()) storage_->whole = storage_->array->read(0, shape[0]);
  } else {
    fail(ExitCode::usage, "'{}' names no matrix: give FILE.npy, FILE.h5:/layer_003/x, or FILE.safetensors:W_dec", location);
  }
  require(shape.size() == 2, ExitCode::bad_data, "{} has {} dimensions; rows of activations have two", location, shape.size());
  require(dtype_ == Dtype::f32 || dtype_ == Dtype::f64 || dtype_ == Dtype::f16 || dtype_ == Dtype::bf16, ExitCode::bad_data,
          "{} holds {}; floating point is needed", location, name_of(dtype_));
  rows_ = shape[0];
  cols_ = shape[1];
  const auto& kinds = storage_->row_kinds;
  require(!kinds || (kinds->dims().size() == 1 && kinds->rows() == rows_), ExitCode::bad_data, "{}: row_kind has {} entries for {} rows",
          location, kinds ? kinds->rows() : 0, rows_);
}

RowSource::~RowSource() = default;

const std::string& RowSource::digest() const {
  if (!digest_.empty()) return digest_;
  const auto [file, rest] = file_and_rest(location_);
  digest_ = rest.empty() ? digest_of_file(file) : digest_of(file_digest_alone(file) + rest);
  return digest_;
}

void share_digest_of_rows(const comm::Communicator& comm, const std::string& location) {
  const auto [file, rest] = file_and_rest(location);
  const bool of_bytes = comm::decided(comm, [&file = file, &rest = rest] { // clang captures no name of a binding by itself
    if (rest.empty()) return false;                                        // digest() of a .npy is one of all its bytes in a row
    return rest[0] != '/' || !File::open(file).has_attribute("stage_digest");
  });
  if (of_bytes) file_digest(comm, file);
}
RowSource::RowSource(RowSource&&) noexcept = default;
RowSource& RowSource::operator=(RowSource&&) noexcept = default;

void RowSource::read(Index begin, Index count, void* out) const {
  const Index row_bytes = cols_ * static_cast<Index>(size_of(dtype_));
  const auto bytes = static_cast<std::size_t>(count * row_bytes);
  if (storage_->dataset)
    storage_->dataset->read_rows(begin, count, out);
  else if (bytes == 0)
    return;
  else if (!storage_->whole.bytes.empty())
    std::memcpy(out, storage_->whole.bytes.data() + begin * row_bytes, bytes);
  else if (storage_->array)
    std::memcpy(out, storage_->array->read(begin, count).bytes.data(), bytes);
  else
    std::memcpy(out, storage_->tensor + begin * row_bytes, bytes);
}

void RowSource::read_float(Index begin, Index count, std::span<float> out) const {
  if (dtype_ == Dtype::f32) {
    read(begin, count, out.data());
  } else {
    std::vector<char> raw(static_cast<std::size_t>(count * cols_) * size_of(dtype_));
    read(begin, count, raw.data());
    to_float(raw.data(), dtype_, out.first(static_cast<std::size_t>(count * cols_)));
  }
  check_finite(out.first(static_cast<std::size_t>(count * cols_)), cols_, begin, location_);
}

std::vector<std::uint8_t> RowSource::row_kinds(Index begin, Index end) const {
  if (storage_->row_kinds) return storage_->row_kinds->read<std::uint8_t>(begin, end - begin);
  return std::vector<std::uint8_t>(static_cast<std::size_t>(end - begin), 0);
}

std::string RowSource::attribute(const std::string& name) const {
  return storage_->file && storage_->file->has_attribute(name) ? storage_->file->attribute(name) : std::string();
}

void check_finite(std::span<const float> values, Index cols, Index first_row, const std::string& location) {
  float sum = 0; // 0 * x is 0 for a finite x and NaN otherwise: one fast pass, the search only on failure
#pragma omp simd reduction(+ : sum)
  for (std::size_t i = 0; i < values.size(); ++i) sum += 0.0F * values[i];
  if (sum == 0.0F) return;
  for (std::size_t i = 0; i < values.size(); ++i)
    require(std::isfinite(values[i]), ExitCode::bad_data, "{}: row {} holds {} in column {}; the activations are damaged or overflowed",
            location, first_row + static_cast<Index>(i) / cols, values[i], static_cast<Index>(i) % cols);
}

} // namespace concord::io
