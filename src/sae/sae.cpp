#include "concord/sae/sae.hpp"

#include "concord/comm/decided.hpp"
#include "concord/core/digest.hpp"
#include "concord/core/error.hpp"
#include "concord/core/text.hpp"
#include "concord/io/file_digest.hpp"
#include "concord/io/npy.hpp"
#include "concord/io/safetensors.hpp"

#include <cctype>
#include <cmath>
#include <functional>

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
  if (name == "jumprelu" || name == "jump_relu") return Sae::Architecture::jumprelu;
  if (name == "standard") return Sae::Architecture::standard;
  if (name == "gated") return Sae::Architecture::gated;
  fail(ExitCode::bad_data, "{}: architecture \"{}\" is not supported; concord encodes topk, jumprelu, standard and gated", file, name);
}

int k_of(const nlohmann::json& cfg, const std::string& file) {
  if (cfg.contains("k")) return cfg["k"].get<int>();
  if (cfg.contains("activation_fn_kwargs")) return cfg["activation_fn_kwargs"].value("k", 0);
  fail(ExitCode::bad_data, "{}: a topk SAE needs k", file);
}

nlohmann::json read_cfg(const std::string& file) {
  auto cfg = nlohmann::json::parse(read_text(file, "SAE config"), nullptr, false);
  require(cfg.is_object(), ExitCode::bad_data, "{} is not valid JSON", file);
  return cfg;
}

double row_norm(const Sae& sae, Index j) {
  double squares = 0;
  for (Index c = 0; c < sae.d; ++c) squares += std::pow(sae.decoder[static_cast<std::size_t>(j * sae.d + c)], 2);
  return std::sqrt(squares);
}

/// TopK that was selected by a |W_dec[j]|: the same with unit decoder rows.
void fold_decoder_norms(Sae& sae) {
  for (Index j = 0; j < sae.latents; ++j) {
    const double norm = row_norm(sae, j);
    if (norm <= 0) continue;
    for (Index c = j * sae.d; c < (j + 1) * sae.d; ++c) {
      sae.encoder[static_cast<std::size_t>(c)] *= static_cast<float>(norm);
      sae.decoder[static_cast<std::size_t>(c)] /= static_cast<float>(norm);
    }
    sae.b_enc[static_cast<std::size_t>(j)] *= static_cast<float>(norm);
  }
}

/// An SAE of x s as one of x: W_enc s, W_dec / s, b_dec / s.
void fold_scale(Sae& sae, float scale) {
  for (float& w : sae.encoder) w *= scale;
  for (auto* values : {&sae.decoder, &sae.b_dec})
    for (float& w : *values) w /= scale;
}

Sae load_saelens(const fs::path& folder) {
  const std::string file = (folder / "cfg.json").string();
  const auto cfg = read_cfg(file);
  Sae sae;
  std::string normalise = "none";
  try {
    sae.architecture = architecture_of(cfg, file);
    sae.d = cfg.at("d_in").get<Index>();
    sae.latents = cfg.at("d_sae").get<Index>();
    if (sae.architecture == Sae::Architecture::topk) sae.k = k_of(cfg, file);
    sae.subtract_b_dec = cfg.value("apply_b_dec_to_input", true);
    if (cfg.contains("normalize_activations") && cfg["normalize_activations"].is_string())
      normalise = cfg["normalize_activations"].get<std::string>();
    require(normalise == "none" || normalise == "expected_average_only_in", ExitCode::bad_data,
            "{}: normalize_activations \"{}\" depends on each row and cannot be folded into weights; concord does not read it", file,
            normalise);
  } catch (const nlohmann::json::exception& error) {
    fail(ExitCode::bad_data, "{}: {}", file, error.what());
  }
  const io::SafetensorsFile weights(folder / "sae_weights.safetensors");
  sae.encoder = transposed(floats_of(weights, "W_enc", {sae.d, sae.latents}), sae.d, sae.latents);
  sae.decoder = floats_of(weights, "W_dec", {sae.latents, sae.d});
  sae.b_dec = floats_of(weights, "b_dec", {sae.d});
  const bool gated = sae.architecture == Sae::Architecture::gated;
  sae.b_enc = floats_of(weights, gated ? "b_gate" : "b_enc", {sae.latents});
  if (gated) {
    sae.b_mag = floats_of(weights, "b_mag", {sae.latents});
    sae.r_mag = floats_of(weights, "r_mag", {sae.latents});
  }
  if (sae.architecture == Sae::Architecture::jumprelu) sae.threshold = floats_of(weights, "threshold", {sae.latents});
  if (sae.architecture == Sae::Architecture::topk && cfg.value("rescale_acts_by_decoder_norm", false)) fold_decoder_norms(sae);
  // Version 6 saves the scale folded; a file that still carries it was trained on x times it.
  if (normalise != "none" && weights.has("scaling_factor"))
    fold_scale(sae, floats_of(weights, "scaling_factor", weights.tensor("scaling_factor").shape).at(0));
  return sae;
}

/// sparsify: encoder.weight [F, d], W_dec [F, d]; b_dec is always subtracted.
Sae load_sparsify(const fs::path& folder) {
  const std::string file = (folder / "cfg.json").string();
  const auto cfg = read_cfg(file);
  Sae sae;
  try {
    sae.d = cfg.at("d_in").get<Index>();
    sae.latents = cfg.value("num_latents", Index{0});
    if (sae.latents == 0) sae.latents = cfg.at("expansion_factor").get<Index>() * sae.d;
    sae.k = cfg.at("k").get<int>();
    const auto activation = cfg.value("activation", std::string("topk"));
    require(activation == "topk" && !cfg.value("transcode", false) && !cfg.value("skip_connection", false), ExitCode::bad_data,
            "{}: concord reads TopK SAEs of sparsify, not activation \"{}\", transcoders or skip connections", file, activation);
  } catch (const nlohmann::json::exception& error) {
    fail(ExitCode::bad_data, "{}: {}", file, error.what());
  }
  const io::SafetensorsFile weights(folder / "sae.safetensors");
  sae.encoder = floats_of(weights, "encoder.weight", {sae.latents, sae.d});
  sae.decoder = floats_of(weights, "W_dec", {sae.latents, sae.d});
  sae.b_enc = floats_of(weights, "encoder.bias", {sae.latents});
  sae.b_dec = floats_of(weights, "b_dec", {sae.d});
  return sae;
}

/// A JumpReLU SAE of Gemma Scope from arrays by name: W_enc [d, F] and so on, in either case of letters.
Sae gemma_scope(const std::string& file,
                const std::function<std::pair<std::vector<Index>, std::vector<float>>(const std::string&)>& array) {
  Sae sae;
  sae.architecture = Sae::Architecture::jumprelu;
  sae.subtract_b_dec = false;
  const auto [shape, w_enc] = array("W_enc");
  require(shape.size() == 2, ExitCode::bad_data, "{}: W_enc is no matrix", file);
  sae.d = shape[0];
  sae.latents = shape[1];
  const auto sized = [&](const std::string& name, const std::vector<Index>& wanted) {
    auto [found, values] = array(name);
    require(found == wanted, ExitCode::bad_data, "{}: {} has shape [{}]; with W_enc [{}, {}] it should have [{}]", file, name,
            fmt::join(found, ", "), sae.d, sae.latents, fmt::join(wanted, ", "));
    return values;
  };
  sae.encoder = transposed(w_enc, sae.d, sae.latents);
  sae.decoder = sized("W_dec", {sae.latents, sae.d});
  sae.b_enc = sized("b_enc", {sae.latents});
  sae.b_dec = sized("b_dec", {sae.d});
  sae.threshold = sized("threshold", {sae.latents});
  for (const auto* values : {&sae.encoder, &sae.decoder, &sae.b_enc, &sae.b_dec, &sae.threshold})
    for (const float v : *values) require(std::isfinite(v), ExitCode::bad_data, "{} holds a value that is not finite", file);
  return sae;
}

std::string lower_case(std::string name) {
  for (char& c : name) c = static_cast<char>(std::tolower(c));
  return name;
}

Sae load_gemma_scope(const fs::path& path) {
  const auto arrays = io::read_npz(path);
  return gemma_scope(path.string(), [&](const std::string& name) {
    const auto found = arrays.contains(name) ? arrays.find(name) : arrays.find(lower_case(name));
    require(found != arrays.end(), ExitCode::bad_data, "{} has no array {}; a Gemma Scope params.npz is expected", path.string(), name);
    const auto wide = found->second.as_double();
    return std::pair(found->second.shape, std::vector<float>(wide.begin(), wide.end()));
  });
}

Sae load_gemma_scope_2(const fs::path& path) {
  const io::SafetensorsFile file(path);
  require(!file.has("affine_skip_connection"), ExitCode::bad_data, "{} is a transcoder with a skip connection, not an SAE", path.string());
  return gemma_scope(path.string(), [&](const std::string& name) {
    const std::string there = file.has(name) ? name : lower_case(name);
    const auto& shape = file.tensor(there).shape;
    return std::pair(shape, floats_of(file, there, shape));
  });
}

/// Columns [begin, begin + width) of a matrix [rows, d].
std::vector<float> columns(const std::vector<float>& matrix, Index rows, Index d, Index begin, Index width) {
  std::vector<float> out;
  out.reserve(static_cast<std::size_t>(rows * width));
  for (Index r = 0; r < rows; ++r) out.insert(out.end(), matrix.begin() + r * d + begin, matrix.begin() + r * d + begin + width);
  return out;
}

/// "W_enc" of a lone model, "W_enc_a", "W_enc_b" of a crosscoder's.
std::string part_name(const std::string& name, const Sae& sae, std::size_t part) {
  return sae.parts.size() > 1 ? name + "_" + static_cast<char>('a' + static_cast<char>(part)) : name;
}

Sae load_crosscoder(const fs::path& folder) {
  const std::string file = (folder / "cfg.json").string();
  const auto cfg = read_cfg(file);
  Sae sae;
  try {
    sae.architecture = architecture_of({{"architecture", cfg.at("activation")}}, file);
    sae.latents = cfg.at("d_sae").get<Index>();
    sae.parts = cfg.at("d_in_parts").get<std::vector<Index>>();
    if (sae.architecture == Sae::Architecture::topk) sae.k = k_of(cfg, file);
  } catch (const nlohmann::json::exception& error) {
    fail(ExitCode::bad_data, "{}: {}", file, error.what());
  }
  for (const Index width : sae.parts) sae.d += width;
  const io::SafetensorsFile weights(folder / "sae_weights.safetensors");
  sae.encoder.resize(static_cast<std::size_t>(sae.latents * sae.d));
  sae.decoder.resize(sae.encoder.size());
  Index begin = 0;
  for (std::size_t part = 0; part < sae.parts.size(); ++part) {
    const Index width = sae.parts[part];
    const auto w_enc = transposed(floats_of(weights, part_name("W_enc", sae, part), {width, sae.latents}), width, sae.latents);
    const auto w_dec = floats_of(weights, part_name("W_dec", sae, part), {sae.latents, width});
    for (Index j = 0; j < sae.latents; ++j) {
      std::copy_n(w_enc.begin() + j * width, width, sae.encoder.begin() + j * sae.d + begin);
      std::copy_n(w_dec.begin() + j * width, width, sae.decoder.begin() + j * sae.d + begin);
    }
    const auto b_dec = floats_of(weights, part_name("b_dec", sae, part), {width});
    sae.b_dec.insert(sae.b_dec.end(), b_dec.begin(), b_dec.end());
    begin += width;
  }
  const bool gated = sae.architecture == Sae::Architecture::gated;
  sae.b_enc = floats_of(weights, gated ? "b_gate" : "b_enc", {sae.latents});
  if (gated) sae.b_mag = floats_of(weights, "b_mag", {sae.latents});
  if (gated) sae.r_mag = floats_of(weights, "r_mag", {sae.latents});
  if (sae.architecture == Sae::Architecture::jumprelu) sae.threshold = floats_of(weights, "threshold", {sae.latents});
  return sae;
}

const char* saelens_name(Sae::Architecture architecture) {
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

/// Which format a path is of, and its files.
struct Files {
  enum class Format { gemma_scope, gemma_scope_2, sparsify, saelens };
  Format format;
  fs::path weights;
  fs::path cfg = {};
};

Files files_of(const fs::path& path) {
  require(fs::exists(path), ExitCode::input_missing, "there is no SAE {}", path.string());
  require(path.extension() != ".pt" && (!fs::exists(path / "ae.pt") || fs::exists(path / "cfg.json")), ExitCode::bad_data,
          "{} is an SAE of dictionary_learning, a Python pickle; convert it with scripts/convert_sae.py", path.string());
  if (path.extension() == ".npz") return {Files::Format::gemma_scope, path};
  if (path.extension() == ".safetensors") return {Files::Format::gemma_scope_2, path};
  if (fs::exists(path / "params.safetensors")) return {Files::Format::gemma_scope_2, path / "params.safetensors"};
  if (fs::exists(path / "sae.safetensors")) return {Files::Format::sparsify, path / "sae.safetensors", path / "cfg.json"};
  return {Files::Format::saelens, path / "sae_weights.safetensors", path / "cfg.json"};
}

nlohmann::json cfg_of(const Sae& sae, const nlohmann::json& metadata) {
  nlohmann::json cfg{{"d_sae", sae.latents}, {"dtype", "float32"}, {"device", "cpu"}, {"metadata", metadata}};
  if (sae.architecture == Sae::Architecture::topk) cfg["k"] = sae.k;
  if (sae.parts.size() > 1) {
    cfg.update({{"architecture", "crosscoder"}, {"activation", saelens_name(sae.architecture)}, {"d_in_parts", sae.parts}});
    return cfg;
  }
  cfg.update({{"architecture", saelens_name(sae.architecture)},
              {"d_in", sae.d},
              {"apply_b_dec_to_input", sae.subtract_b_dec},
              {"normalize_activations", "none"},
              {"reshape_activations", "none"}});
  if (sae.architecture == Sae::Architecture::topk) cfg["rescale_acts_by_decoder_norm"] = false;
  return cfg;
}

} // namespace

Sae load_sae(const fs::path& path) {
  const Files files = files_of(path);
  switch (files.format) {
  case Files::Format::gemma_scope:
    return load_gemma_scope(files.weights);
  case Files::Format::gemma_scope_2:
    return load_gemma_scope_2(files.weights);
  case Files::Format::sparsify:
    return load_sparsify(path);
  case Files::Format::saelens:
    break;
  }
  const auto architecture = read_cfg(files.cfg.string()).value("architecture", std::string());
  return architecture == "crosscoder" ? load_crosscoder(path) : load_saelens(path);
}

void save_sae(const fs::path& folder, const Sae& sae, const nlohmann::json& metadata) {
  make_folder(folder);
  const std::vector<Index> parts = sae.parts.empty() ? std::vector<Index>{sae.d} : sae.parts;
  std::map<std::string, io::TensorView> tensors;
  std::vector<std::vector<float>> kept; // what the views show
  kept.reserve(3 * parts.size());
  const auto add = [&](const std::string& name, const std::vector<Index>& shape, const std::vector<float>& values) {
    if (!values.empty()) tensors[name] = {Dtype::f32, shape, values.data()};
  };
  Index begin = 0;
  for (std::size_t part = 0; part < parts.size(); ++part) {
    const Index width = parts[part];
    const bool whole = parts.size() == 1;
    kept.push_back(whole ? transposed(sae.encoder, sae.latents, sae.d)
                         : transposed(columns(sae.encoder, sae.latents, sae.d, begin, width), sae.latents, width));
    add(part_name("W_enc", sae, part), {width, sae.latents}, kept.back());
    if (!whole) kept.push_back(columns(sae.decoder, sae.latents, sae.d, begin, width));
    add(part_name("W_dec", sae, part), {sae.latents, width}, whole ? sae.decoder : kept.back());
    if (!whole) kept.push_back(columns(sae.b_dec, 1, sae.d, begin, width));
    add(part_name("b_dec", sae, part), {width}, whole ? sae.b_dec : kept.back());
    begin += width;
  }
  add(sae.architecture == Sae::Architecture::gated ? "b_gate" : "b_enc", {sae.latents}, sae.b_enc);
  add("threshold", {sae.latents}, sae.threshold);
  add("b_mag", {sae.latents}, sae.b_mag);
  add("r_mag", {sae.latents}, sae.r_mag);
  io::write_safetensors(folder / "sae_weights.safetensors", tensors);
  write_text_atomic(folder / "cfg.json", cfg_of(sae, metadata).dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

std::string sae_digest(const comm::Communicator& comm, const fs::path& path) {
  std::string weights_file;
  const std::string cfg = comm::decided(comm, [&] {
    const Files files = files_of(path);
    weights_file = files.weights.string();
    return files.cfg.empty() ? std::string() : digest_of_file(files.cfg);
  });
  comm::spread(comm, weights_file);
  const std::string weights = io::file_digest(comm, weights_file);
  return cfg.empty() ? weights : digest_of(cfg + weights);
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
