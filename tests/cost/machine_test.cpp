// Machines: their files, and rates worked by hand.
#include "concord/core/text.hpp"
#include "concord/cost/machine.hpp"

#include "support/support.hpp"

namespace concord::cost {
namespace {

using test::expect_error;

/// A file of this rank alone.
std::filesystem::path written(const std::string& name, const std::string& text) {
  static const auto folder = test::empty_folder("machine");
  const auto path = folder / fmt::format("{}_{}", test::world().rank(), name);
  write_text_atomic(path, text);
  return path;
}

TEST(Machine, RatesFallWithOthersAndWithSmallSizes) {
  Machine m = default_machine(5);
  m.rates[static_cast<std::size_t>(Work::eigenvalues)] = {100, 60, 50};
  EXPECT_DOUBLE_EQ(m.rate(Work::eigenvalues, 0, 1), 100);
  EXPECT_DOUBLE_EQ(m.rate(Work::eigenvalues, 0, 3), 80); // half way from alone to five
  EXPECT_DOUBLE_EQ(m.rate(Work::eigenvalues, 0, 5), 60);
  EXPECT_DOUBLE_EQ(m.rate(Work::eigenvalues, 50, 1), 50); // the size of half the rate
  EXPECT_DOUBLE_EQ(m.rate(Work::eigenvalues, 150, 5), 45);
  expect_error(ExitCode::config, "gives no eigenvalues of a GPU", [&] { m.rate(Work::eigenvalues, 0, 1, true); });
}

TEST(Machine, AFileGivesBackWhatWasWritten) {
  Machine m = default_machine(8);
  m.name = "a node";
  m.gpus_a_node = 2;
  m.gpu_memory = 2e12;
  m.gpu_rates[static_cast<std::size_t>(Work::product_bf16)] = {3e14, 3e14, 900};
  const Machine again = read_machine(written("whole.json", to_json(m).dump()));
  EXPECT_EQ(to_json(again), to_json(m));
  EXPECT_EQ(again.gpu_rates[static_cast<std::size_t>(Work::product_bf16)].half, 900);
  EXPECT_EQ(again.gpu_rates[static_cast<std::size_t>(Work::text)].alone, 0); // a GPU need not do everything
}

TEST(Machine, ADamagedFileIsRefusedWithItsKey) {
  const auto whole = to_json(default_machine(2));
  const auto refused = [&](const std::string& pointer, const nlohmann::json& value, const std::string& said) {
    auto m = whole;
    m[nlohmann::json::json_pointer(pointer)] = value;
    expect_error(ExitCode::bad_data, said, [&] { read_machine(written("bad.json", m.dump())); });
  };
  refused("/work/rows/alone", -1, "/work/rows/alone must be a positive number");
  refused("/work/rows/alone", "fast", "/work/rows/alone must be a positive number");
  refused("/work/columns", {{"alone", 1}}, "names no kind of work: columns");
  refused("/files/read/node", 0, "/files/read/node must be a positive number");
  refused("/ranks_a_node", 1.5, "/ranks_a_node must be a whole number");
  refused("/messages", 3, "/messages/within/latency must be a positive number");
  auto without = whole;
  without["work"].erase("text");
  expect_error(ExitCode::bad_data, "/work/text/alone must be", [&] { read_machine(written("bad.json", without.dump())); });
  expect_error(ExitCode::input_missing, "none.json", [] { read_machine("none.json"); });
  expect_error(ExitCode::bad_data, "text.json is no JSON object", [] { read_machine(written("text.json", "ranks = 3")); });
}

} // namespace
} // namespace concord::cost
