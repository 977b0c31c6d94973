#include "sae/format/format.hpp"

#include "concord/core/error.hpp"

#include <algorithm>
#include <cmath>

namespace concord::sae {

namespace {
constexpr Index most = Index{1} << 30; // products of a size and a width fit into Index
}

std::vector<float> transposed(std::span<const float> matrix, Index rows, Index cols) {
  std::vector<float> out(matrix.size());
  for (Index r = 0; r < rows; ++r)
    for (Index c = 0; c < cols; ++c) out[static_cast<std::size_t>(c * rows + r)] = matrix[static_cast<std::size_t>(r * cols + c)];
  return out;
}

void check_shape(const io::SafetensorsFile& file, const std::string& name, const std::vector<Index>& shape, const std::string& keys) {
  const auto& found = file.tensor(name).shape;
  require(found == shape, ExitCode::bad_data, "{}: {} has shape [{}], cfg.json asks for [{}]{}", file.path().string(), name,
          fmt::join(found, ", "), fmt::join(shape, ", "), keys.empty() ? "" : " by " + keys);
}

std::vector<float> floats_of(const io::SafetensorsFile& file, const std::string& name, const std::vector<Index>& shape,
                             const std::string& keys) {
  const auto& view = file.tensor(name);
  check_shape(file, name, shape, keys);
  std::vector<float> values(static_cast<std::size_t>(view.count()));
  to_float(view.data, view.dtype, values);
  const bool finite = std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
  require(finite, ExitCode::bad_data, "{}: {} holds a value that is not finite", file.path().string(), name);
  return values;
}

void only_arrays(const io::SafetensorsFile& file, const std::vector<std::string>& names, const std::vector<std::string>& needed,
                 const std::string& kind) {
  for (const auto& [name, view] : file.tensors())
    require(std::ranges::find(names, name) != names.end(), ExitCode::bad_data,
            "{} holds the array {}, which an SAE of {} has not; it may change what the codes mean (concord reads {})", file.path().string(),
            name, kind, fmt::join(names, ", "));
  for (const auto& name : needed)
    require(file.has(name), ExitCode::bad_data, "{} has no array {}, which an SAE of {} needs", file.path().string(), name, kind);
}

void read_sizes(const Fields& cfg, Sae& sae) {
  sae.d = cfg.whole("d_in", 1, most);
  sae.latents = cfg.whole("d_sae", 1, most);
}

int read_k(const Fields& cfg, Index latents, const std::string& size) {
  const Index k = cfg.whole("k", 1);
  require(k <= latents, ExitCode::bad_data, "{}: k is {}; it must be a whole number from 1 to {} ({})", cfg.file(), k, latents, size);
  return static_cast<int>(k);
}

std::vector<std::string> latent_arrays(Sae::Architecture architecture) {
  switch (architecture) {
  case Sae::Architecture::gated:
    return {"b_gate", "b_mag", "r_mag"};
  case Sae::Architecture::jumprelu:
    return {"b_enc", "threshold"};
  case Sae::Architecture::topk:
  case Sae::Architecture::standard:
    break;
  }
  return {"b_enc"};
}

void read_latent_arrays(const io::SafetensorsFile& weights, Sae& sae) {
  const bool gated = sae.architecture == Sae::Architecture::gated;
  sae.b_enc = floats_of(weights, gated ? "b_gate" : "b_enc", {sae.latents}, "d_sae");
  if (gated) sae.b_mag = floats_of(weights, "b_mag", {sae.latents});
  if (gated) sae.r_mag = floats_of(weights, "r_mag", {sae.latents});
  if (sae.architecture == Sae::Architecture::jumprelu) sae.threshold = floats_of(weights, "threshold", {sae.latents});
}

namespace {
constexpr auto architectures = {Sae::Architecture::topk, Sae::Architecture::jumprelu, Sae::Architecture::standard,
                                Sae::Architecture::gated};
}

Sae::Architecture architecture_named(const std::string& name, const Fields& cfg, const std::string& key) {
  for (const auto architecture : architectures)
    if (name == name_of(architecture)) return architecture;
  fail(ExitCode::bad_data, "{}: {} \"{}\" is not supported; concord encodes topk, jumprelu, standard and gated", cfg.file(), key, name);
}

std::string name_of(Sae::Architecture architecture) {
  switch (architecture) {
  case Sae::Architecture::topk:
    return "topk";
  case Sae::Architecture::jumprelu:
    return "jumprelu";
  case Sae::Architecture::standard:
    return "standard";
  case Sae::Architecture::gated:
    return "gated";
  }
  return "";
}

std::string part_name(const std::string& name, const Sae& sae, std::size_t part) {
  return sae.parts.size() > 1 ? name + "_" + static_cast<char>('a' + static_cast<char>(part)) : name;
}

} // namespace concord::sae
