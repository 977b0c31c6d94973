#include "concord/sae/sae.hpp"

#include "concord/core/digest.hpp"
#include "concord/core/error.hpp"
#include "concord/core/text.hpp"
#include "concord/io/npy.hpp"
#include "concord/io/safetensors.hpp"

#include <cmath>

namespace concord::sae {

namespace fs = std::filesystem;

namespace {

std::vector<float> transposed(const std::vector<float>& matrix, Index rows, Index cols) {
  std::vector<float> out(matrix.size());
  for (Index r = 0; r < rows; ++r)
    for (Index c = 0; c < cols; ++c) out[static_cast<std::size_t>(c * rows + r)] = matrix[static_cast<std::size_t>(r * cols + c)];
  return out;
}

std::vector<float> floats_of(const io::SafetensorsFile& file, const std::string& name, const std::vector<Index>& shape) {
  const auto& view = file.tensor(name);
  require(view.shape == shape, ExitCode::bad_data, "{}: {} has shape [{}], cfg.json asks for [{}]", file.path().string(), name,
          fmt::join(view.shape, ", "), fmt::join(shape, ", "));
  std::vector<float> values(static_cast<std::size_t>(view.count()));
  to_float(view.data, view.dtype, values);
  for (const float v : values)
    require(std::isfinite(v), ExitCode::bad_data, "{}: {} holds a value that is not finite", file.path().string(), name);
  return values;
}

Sae::Architecture architecture_of(const nlohmann::json& cfg, const std::string& file) {
  const auto name = cfg.value("architecture", std::string("standard"));
  // SAELens before 6 wrote TopK as "standard" with an activation function.
  if (name == "topk" || (name == "standard" && cfg.value("activation_fn_str", cfg.value("activation_fn", std::string())) == "topk"))
    return Sae::Architecture::topk;
  if (name == "jumprelu") return Sae::Architecture::jumprelu;
  if (name == "standard") return Sae::Architecture::standard;
  fail(ExitCode::bad_data, "{}: architecture \"{}\" is not supported; concord encodes topk, jumprelu and standard", file, name);
}

int k_of(const nlohmann::json& cfg, const std::string& file) {
  if (cfg.contains("k")) return cfg["k"].get<int>();
  if (cfg.contains("activation_fn_kwargs")) return cfg["activation_fn_kwargs"].value("k", 0);
  fail(ExitCode::bad_data, "{}: a topk SAE needs k", file);
}

Sae load_saelens(const fs::path& folder) {
  const std::string file = (folder / "cfg.json").string();
  const auto cfg = nlohmann::json::parse(read_text(file, "SAE config"), nullptr, false);
  require(cfg.is_object(), ExitCode::bad_data, "{} is not valid JSON", file);
  Sae sae;
  try {
    sae.architecture = architecture_of(cfg, file);
    sae.d = cfg.at("d_in").get<Index>();
    sae.latents = cfg.at("d_sae").get<Index>();
    if (sae.architecture == Sae::Architecture::topk) sae.k = k_of(cfg, file);
    sae.subtract_b_dec = cfg.value("apply_b_dec_to_input", true);
    const auto normalise = cfg.contains("normalize_activations") && cfg["normalize_activations"].is_string()
                               ? cfg["normalize_activations"].get<std::string>()
                               : std::string("none");
    require(normalise == "none" || normalise == "expected_average_only_in", ExitCode::bad_data,
            "{}: normalize_activations \"{}\" is not supported", file, normalise);
  } catch (const nlohmann::json::exception& error) {
    fail(ExitCode::bad_data, "{}: {}", file, error.what());
  }
  const io::SafetensorsFile weights(folder / "sae_weights.safetensors");
  sae.encoder = transposed(floats_of(weights, "W_enc", {sae.d, sae.latents}), sae.d, sae.latents);
  sae.decoder = floats_of(weights, "W_dec", {sae.latents, sae.d});
  sae.b_enc = floats_of(weights, "b_enc", {sae.latents});
  sae.b_dec = floats_of(weights, "b_dec", {sae.d});
  if (sae.architecture == Sae::Architecture::jumprelu) sae.threshold = floats_of(weights, "threshold", {sae.latents});
  if (cfg.value("rescale_acts_by_decoder_norm", false))
    for (Index j = 0; j < sae.latents; ++j) {
      double norm = 0;
      for (Index c = 0; c < sae.d; ++c) norm += std::pow(sae.decoder[static_cast<std::size_t>(j * sae.d + c)], 2);
      require(std::abs(norm - 1) < 1e-3, ExitCode::bad_data,
              "{}: decoder rows are not of unit norm, which rescale_acts_by_decoder_norm of a saved topk SAE promises", file);
    }
  return sae;
}

Sae load_gemma_scope(const fs::path& path) {
  const auto arrays = io::read_npz(path);
  const auto values = [&](const char* upper, const char* lower) {
    const auto found = arrays.contains(upper) ? arrays.find(upper) : arrays.find(lower);
    require(found != arrays.end(), ExitCode::bad_data, "{} has no array {}; a Gemma Scope params.npz is expected", path.string(), upper);
    return found->second;
  };
  const auto floats = [](const io::NpyArray& array) {
    const auto wide = array.as_double();
    return std::vector<float>(wide.begin(), wide.end());
  };
  const auto w_enc = values("W_enc", "w_enc");
  require(w_enc.shape.size() == 2, ExitCode::bad_data, "{}: W_enc is no matrix", path.string());
  Sae sae;
  sae.architecture = Sae::Architecture::jumprelu;
  sae.subtract_b_dec = false;
  sae.d = w_enc.shape[0];
  sae.latents = w_enc.shape[1];
  const auto w_dec = values("W_dec", "w_dec");
  require(w_dec.shape == std::vector<Index>{sae.latents, sae.d}, ExitCode::bad_data, "{}: W_dec does not fit W_enc", path.string());
  sae.encoder = transposed(floats(w_enc), sae.d, sae.latents);
  sae.decoder = floats(w_dec);
  sae.b_enc = floats(values("b_enc", "b_enc"));
  sae.b_dec = floats(values("b_dec", "b_dec"));
  sae.threshold = floats(values("threshold", "threshold"));
  require(static_cast<Index>(sae.b_enc.size()) == sae.latents && static_cast<Index>(sae.threshold.size()) == sae.latents &&
              static_cast<Index>(sae.b_dec.size()) == sae.d,
          ExitCode::bad_data, "{}: biases or thresholds do not fit W_enc", path.string());
  return sae;
}

} // namespace

Sae load_sae(const fs::path& path) {
  require(fs::exists(path), ExitCode::input_missing, "there is no SAE {}", path.string());
  return path.extension() == ".npz" ? load_gemma_scope(path) : load_saelens(path);
}

void save_saelens(const fs::path& folder, const Sae& sae, const nlohmann::json& metadata) {
  make_folder(folder);
  const auto w_enc = transposed(sae.encoder, sae.latents, sae.d);
  std::map<std::string, io::TensorView> tensors{{"W_enc", {Dtype::f32, {sae.d, sae.latents}, w_enc.data()}},
                                                {"W_dec", {Dtype::f32, {sae.latents, sae.d}, sae.decoder.data()}},
                                                {"b_enc", {Dtype::f32, {sae.latents}, sae.b_enc.data()}},
                                                {"b_dec", {Dtype::f32, {sae.d}, sae.b_dec.data()}}};
  nlohmann::json cfg{{"d_in", sae.d},
                     {"d_sae", sae.latents},
                     {"dtype", "float32"},
                     {"device", "cpu"},
                     {"apply_b_dec_to_input", sae.subtract_b_dec},
                     {"normalize_activations", "none"},
                     {"reshape_activations", "none"},
                     {"metadata", metadata}};
  switch (sae.architecture) {
  case Sae::Architecture::topk:
    cfg["architecture"] = "topk";
    cfg["k"] = sae.k;
    cfg["rescale_acts_by_decoder_norm"] = false;
    break;
  case Sae::Architecture::jumprelu:
    cfg["architecture"] = "jumprelu";
    tensors["threshold"] = {Dtype::f32, {sae.latents}, sae.threshold.data()};
    break;
  case Sae::Architecture::standard:
    cfg["architecture"] = "standard";
    break;
  }
  io::write_safetensors(folder / "sae_weights.safetensors", tensors);
  write_text_atomic(folder / "cfg.json", cfg.dump(2) + "\n");
}

std::string sae_digest(const fs::path& path) {
  require(fs::exists(path), ExitCode::input_missing, "there is no SAE {}", path.string());
  if (path.extension() == ".npz") return fingerprint_of_file(path);
  return digest_of(digest_of_file(path / "cfg.json") + fingerprint_of_file(path / "sae_weights.safetensors"));
}

fs::path sae_path(const std::string& location, int layer) {
  const std::string mark = "{layer}";
  std::string path = location;
  std::size_t at = path.find(mark);
  if (at == std::string::npos) return fs::path(location) / layer_name(layer);
  for (; at != std::string::npos; at = path.find(mark)) path.replace(at, mark.size(), std::to_string(layer));
  return path;
}

} // namespace concord::sae
