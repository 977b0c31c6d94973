// Records in JSON: a machine's constants, and the log of a training that goes on.
#include "concord/cost/machine.hpp"

#include "fuzz.hpp"
#include "sae/training/folder/training_log.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace concord;
  const auto path = fuzz::file("record.json", fuzz::text_of(data, size));
  fuzz::expect_error_or_result([&] { cost::to_json(cost::read_machine(path)); });
  fuzz::expect_error_or_result([&] { sae::TrainingLog(path, 1000).go_on_behind(5); });
  return 0;
}
