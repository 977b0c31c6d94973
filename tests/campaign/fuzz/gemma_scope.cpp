// params.npz of Gemma Scope.
#include "concord/sae/sae.hpp"

#include "fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace concord;
  const auto path = fuzz::file("params.npz", fuzz::text_of(data, size));
  fuzz::expect_error_or_result([&] { sae::load_sae(path); });
  return 0;
}
