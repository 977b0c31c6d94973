// cfg.json of an SAE beside weights, for each reader that takes one: SAELens, crosscoders, sparsify, Gemma Scope 2. Two files an input.
#include "concord/sae/sae.hpp"

#include "fuzz.hpp"

namespace {

using namespace concord;

void read(const std::string& kind, const std::string& config, const std::string& weights,
          const std::pair<std::string_view, std::string_view>& files) {
  std::filesystem::create_directories(fuzz::folder() / kind);
  fuzz::file(kind + "/" + config, files.first);
  fuzz::file(kind + "/" + weights, files.second);
  fuzz::expect_error_or_result([&] { sae::load_sae(fuzz::folder() / kind); });
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto files = fuzz::two_of(data, size);
  read("saelens", "cfg.json", "sae_weights.safetensors", files);
  read("sparsify", "cfg.json", "sae.safetensors", files);
  read("gemma_scope_2", "config.json", "params.safetensors", files);
  return 0;
}
