// Arrays of NumPy, and their elements as the readers of the stages take them.
#include "concord/io/npy/npy.hpp"

#include "fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace concord;
  const std::string_view text = fuzz::text_of(data, size);
  fuzz::expect_error_or_result([&] {
    const auto array = io::parse_npy({text.begin(), text.end()}, "x.npy");
    array.as_double();
    array.as_index();
  });
  return 0;
}
