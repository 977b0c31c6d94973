#pragma once
// An HDF5 file whose attributes and datasets an input changes one by one. The container itself is whole: HDF5 1.10 has memory errors of its
// own on damaged metadata, which no reader of ours can mend (docs/reliability.md).

#include "concord/io/hdf5.hpp"

#include "fuzz.hpp"
#include <vector>

namespace concord::fuzz {

class Hdf5Parts {
public:
  Hdf5Parts(const std::filesystem::path& path, std::string_view bytes) : file_(io::File::create(path)), bytes_(bytes) {}
  /// The text given here where the next byte is 0, as behind the end of the input; nothing for 1; else text of so many bytes less 2.
  void attribute(const std::string& name, const std::string& text) {
    const auto control = next();
    if (control == 1) return;
    file_.write_attribute(name, control == 0 ? text : take(control - 2U));
  }
  /// The numbers given here for 0; nothing for 1; else shape, type and elements from the input.
  template <typename T>
  void dataset(const std::string& name, const std::vector<T>& values, const std::vector<Index>& dims = {}) {
    const auto control = next();
    if (control == 0) file_.write(name, values, dims);
    if (control <= 1) return;
    std::vector<Index> shape(control % 4U);
    for (Index& side : shape) side = next() % 6;
    constexpr Dtype dtypes[] = {dtype_of<T>(), dtype_of<T>(), dtype_of<T>(), Dtype::f64, Dtype::i64, Dtype::i32, Dtype::u8, Dtype::bf16};
    auto made = file_.create_dataset(name, shape, dtypes[next() % 8]);
    std::string elements = take(static_cast<std::size_t>(made.rows() * made.row_bytes()));
    elements.resize(static_cast<std::size_t>(made.rows() * made.row_bytes()));
    made.write_rows(0, made.rows(), elements.data());
  }
  void close() { file_.close(); }

private:
  unsigned char next() { return bytes_.empty() ? '\0' : static_cast<unsigned char>(take(1)[0]); }
  std::string take(std::size_t size) {
    std::string taken(bytes_.substr(0, size));
    bytes_.remove_prefix(taken.size());
    return taken;
  }
  io::File file_;
  std::string_view bytes_;
};

} // namespace concord::fuzz
