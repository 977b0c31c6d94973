// Studies, and what --set says: the first line of an input is an assignment. What is read must read back.
#include "concord/study/study.hpp"

#include "fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace concord;
  const auto text = fuzz::text_of(data, size);
  const auto end = std::min(text.find('\n'), text.size());
  std::vector<std::string> overrides;
  if (end > 0) overrides.emplace_back(text.substr(0, end));
  const std::string toml(text.substr(std::min(end + 1, text.size())));
  fuzz::expect_error_or_result([&] {
    const auto resolved = study::Study(toml, "study.toml", "/folder", overrides).resolved();
    std::string again;
    try {
      again = study::Study(resolved, "resolved", "/other", {}).resolved();
    } catch (const Error& error) {
      std::fprintf(stderr, "a resolved study is refused: %s\n", error.what());
      std::abort();
    }
    if (again != resolved) std::abort();
  });
  return 0;
}
