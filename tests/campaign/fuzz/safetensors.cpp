// Safetensors: every byte of every tensor is looked at.
#include "concord/io/safetensors.hpp"

#include "fuzz.hpp"
#include <numeric>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace concord;
  const auto path = fuzz::file("x.safetensors", fuzz::text_of(data, size));
  fuzz::expect_error_or_result([&] {
    const io::SafetensorsFile tensors(path);
    for (const auto& [name, view] : tensors.tensors()) {
      const auto* bytes = static_cast<const unsigned char*>(view.data);
      const auto count = static_cast<std::size_t>(view.count()) * size_of(view.dtype);
      if (count > size || std::accumulate(bytes, bytes + count, std::size_t{0}) > 255 * count) std::abort();
    }
  });
  return 0;
}
