// config.json of a language model.
#include "concord/model/config.hpp"

#include "fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace concord;
  fuzz::file("config.json", fuzz::text_of(data, size));
  fuzz::expect_error_or_result([&] {
    const auto config = model::read_config(fuzz::folder());
    if (config.block_parameters() <= 0) std::abort(); // sizes whose products do not fit
  });
  return 0;
}
