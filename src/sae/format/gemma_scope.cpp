/// JumpReLU SAEs of Gemma Scope (params.npz) and Gemma Scope 2 (params.safetensors beside config.json): W_enc [d, F] and so on, in either
/// case of letters; b_dec is not subtracted at the input.
#include "concord/core/error.hpp"
#include "concord/io/npy/npy.hpp"

#include "sae/format/format.hpp"
#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <functional>
#include <utility>

namespace concord::sae {

namespace {

constexpr std::array<const char*, 5> array_names{"W_enc", "W_dec", "b_enc", "b_dec", "threshold"};

std::string lower_case(std::string name) {
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return name;
}

void check_name(const std::string& name, const std::string& file) {
  const auto same = [&](const char* known) { return name == known || name == lower_case(known); };
  require(name != "affine_skip_connection", ExitCode::bad_data,
          "{}: affine_skip_connection: a transcoder with a skip connection, not an SAE", file);
  require(std::ranges::any_of(array_names, same), ExitCode::bad_data,
          "{} holds the array {}, which an SAE of Gemma Scope has not; it may change what the codes mean", file, name);
}

Sae gemma_scope(const std::string& file,
                const std::function<std::pair<std::vector<Index>, std::vector<float>>(const std::string&)>& array) {
  Sae sae;
  sae.architecture = Sae::Architecture::jumprelu;
  sae.subtract_b_dec = false;
  auto [shape, w_enc] = array("W_enc");
  require(shape.size() == 2 && shape[0] > 0 && shape[1] > 0, ExitCode::bad_data, "{}: W_enc is no matrix", file);
  sae.d = shape[0];
  sae.latents = shape[1];
  sae.encoder = transposed(std::exchange(w_enc, {}), sae.d, sae.latents); // two matrices at most are in memory
  const auto sized = [&](const std::string& name, const std::vector<Index>& wanted) {
    auto [found, values] = array(name);
    require(found == wanted, ExitCode::bad_data, "{}: {} has shape [{}]; with W_enc [{}, {}] it should have [{}]", file, name,
            fmt::join(found, ", "), sae.d, sae.latents, fmt::join(wanted, ", "));
    return values;
  };
  sae.decoder = sized("W_dec", {sae.latents, sae.d});
  sae.b_enc = sized("b_enc", {sae.latents});
  sae.b_dec = sized("b_dec", {sae.d});
  sae.threshold = sized("threshold", {sae.latents});
  const std::initializer_list<std::span<const float>> arrays{sae.encoder.values(), sae.decoder.values(), sae.b_enc, sae.b_dec,
                                                             sae.threshold};
  for (const auto values : arrays)
    for (const float v : values) require(std::isfinite(v), ExitCode::bad_data, "{} holds a value that is not finite", file);
  return sae;
}

/// What SAELens' loader looks at, and the rest of the files of the release.
void check_config(const std::filesystem::path& path) {
  const Fields config = Fields::read(path, "SAE config");
  config.check({{"hf_hook_point_in", "hf_hook_point_out"},
                {{"architecture", "jump_relu", "another architecture"},
                 {"affine_connection", false, "a transcoder with a skip connection, not an SAE"},
                 {"type", "sae", "not an SAE"}},
                {"model_name", "width", "l0"}});
  require(config.has("architecture"), ExitCode::bad_data, "{} has no key architecture", config.file());
  const auto in = config.get_unless_null<std::string>("hf_hook_point_in", "");
  require(config.get_unless_null("hf_hook_point_out", in) == in, ExitCode::bad_data,
          "{}: hf_hook_point_out is not hf_hook_point_in: a transcoder, not an SAE", config.file());
}

} // namespace

Sae load_gemma_scope(const std::filesystem::path& npz) {
  auto arrays = io::read_npz(npz);
  for (const auto& [name, array] : arrays) check_name(name, npz.string());
  return gemma_scope(npz.string(), [&](const std::string& name) {
    const auto found = arrays.contains(name) ? arrays.find(name) : arrays.find(lower_case(name));
    require(found != arrays.end(), ExitCode::bad_data, "{} has no array {}; a Gemma Scope params.npz is expected", npz.string(), name);
    auto values = found->second.as_float();
    found->second.bytes = std::vector<char>(); // a second matrix would lie there as long as the first
    return std::pair(found->second.shape, std::move(values));
  });
}

Sae load_gemma_scope_2(const std::filesystem::path& weights, const std::filesystem::path& config) {
  if (!config.empty()) check_config(config);
  const io::SafetensorsFile file(weights);
  for (const auto& [name, view] : file.tensors()) check_name(name, weights.string());
  return gemma_scope(weights.string(), [&](const std::string& name) {
    const std::string there = file.has(name) ? name : lower_case(name);
    const auto& shape = file.tensor(there).shape;
    return std::pair(shape, floats_of(file, there, shape));
  });
}

} // namespace concord::sae
