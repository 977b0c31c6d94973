#include "corpus/id_array.hpp"

#include "concord/core/error.hpp"
#include "concord/core/text.hpp"
#include "concord/io/npy/npy_rows.hpp"
#include "concord/io/safetensors.hpp"

#include <algorithm>
#include <cstring>
#include <memory>

namespace concord::corpus {
namespace {

/// The only array, or the one with a usual name.
template <typename Arrays>
const auto& chosen(const Arrays& arrays, const std::filesystem::path& path) {
  if (arrays.size() == 1) return arrays.begin()->second;
  std::vector<std::string> names;
  for (const auto& [name, array] : arrays) names.push_back(name);
  for (const char* usual : {"input_ids", "token_ids", "tokens", "ids"})
    if (const auto found = arrays.find(usual); found != arrays.end()) return found->second;
  fail(ExitCode::bad_data, "{} has the arrays {}; call that of the token ids input_ids", path.string(), join(names, ", "));
}

void check_shape(const std::vector<Index>& shape, bool integers, const std::filesystem::path& path) {
  require(integers && shape.size() == 2, ExitCode::bad_data, "{} must be an integer array [contexts, length]", path.string());
}

bool holds_integers(Dtype dtype) {
  return dtype != Dtype::f32 && dtype != Dtype::f64 && dtype != Dtype::f16 && dtype != Dtype::bf16;
}

IdArray of_npy(const std::filesystem::path& path) {
  const auto rows = std::make_shared<io::NpyRows>(path);
  check_shape({rows->rows(), rows->cols()}, holds_integers(rows->dtype()), path);
  return {rows->rows(), rows->cols(), [rows](Index begin, Index count) { return rows->read(begin, count).as_index(); }};
}

IdArray of_npz(const std::filesystem::path& path) {
  const auto arrays = io::read_npz(path);
  const io::NpyArray& array = chosen(arrays, path);
  check_shape(array.shape, holds_integers(array.dtype), path);
  const auto ids = std::make_shared<std::vector<Index>>(array.as_index());
  const Index cols = array.shape[1];
  return {array.shape[0], cols, [ids, cols](Index begin, Index count) {
            return std::vector<Index>(ids->begin() + begin * cols, ids->begin() + (begin + count) * cols);
          }};
}

template <typename T>
std::vector<Index> widened(const void* data, Index begin, Index count) {
  std::vector<Index> ids;
  ids.reserve(static_cast<std::size_t>(count));
  for (Index i = begin; i < begin + count; ++i) {
    T id; // a tensor may begin anywhere
    std::memcpy(&id, static_cast<const char*>(data) + static_cast<std::size_t>(i) * sizeof(T), sizeof(T));
    ids.push_back(static_cast<Index>(id));
  }
  return ids;
}

IdArray of_safetensors(const std::filesystem::path& path) {
  const auto file = std::make_shared<io::SafetensorsFile>(path);
  const io::TensorView& tensor = chosen(file->tensors(), path);
  check_shape(tensor.shape, tensor.dtype == Dtype::i32 || tensor.dtype == Dtype::i64 || tensor.dtype == Dtype::u32, path);
  const Index cols = tensor.shape[1];
  return {tensor.shape[0], cols, [file, &tensor, cols](Index begin, Index count) {
            const auto read = tensor.dtype == Dtype::i64   ? widened<std::int64_t>
                              : tensor.dtype == Dtype::i32 ? widened<std::int32_t>
                                                           : widened<std::uint32_t>;
            return read(tensor.data, begin * cols, count * cols);
          }};
}

} // namespace

IdArray open_id_array(const std::filesystem::path& path) {
  if (path.extension() == ".npz") return of_npz(path);
  if (path.extension() == ".safetensors") return of_safetensors(path);
  return of_npy(path);
}

} // namespace concord::corpus
