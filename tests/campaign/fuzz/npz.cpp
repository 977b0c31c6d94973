// Sparse matrices of scipy.
#include "concord/io/npy/npy.hpp"

#include "fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace concord;
  const auto path = fuzz::file("x.npz", fuzz::text_of(data, size));
  fuzz::expect_error_or_result([&] { io::check_csr(io::read_scipy_csr(path), "what was read"); });
  return 0;
}
