#include "concord/sae/sae.hpp"

#include "concord/comm/decided.hpp"
#include "concord/core/digest.hpp"
#include "concord/core/error.hpp"
#include "concord/core/json_text.hpp"
#include "concord/core/text.hpp"
#include "concord/io/file_digest.hpp"
#include "concord/io/safetensors.hpp"

#include "sae/format/format.hpp"

namespace concord::sae {

namespace fs = std::filesystem;

namespace {

/// Columns [begin, begin + width) of a matrix [rows, d].
std::vector<float> columns(std::span<const float> matrix, Index rows, Index d, Index begin, Index width) {
  std::vector<float> out;
  out.reserve(static_cast<std::size_t>(rows * width));
  for (Index r = 0; r < rows; ++r) out.insert(out.end(), matrix.begin() + r * d + begin, matrix.begin() + r * d + begin + width);
  return out;
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
  require(!fs::exists(path / "hyperparams.json"), ExitCode::bad_data,
          "{} is an SAE of Llama Scope (hyperparams.json), which concord does not read; save it with sae-lens (save_model) first",
          path.string());
  if (path.extension() == ".npz") return {Files::Format::gemma_scope, path};
  if (path.extension() == ".safetensors") return {Files::Format::gemma_scope_2, path};
  if (fs::exists(path / "params.safetensors")) {
    const fs::path config = path / "config.json";
    return {Files::Format::gemma_scope_2, path / "params.safetensors", fs::exists(config) ? config : fs::path()};
  }
  if (fs::exists(path / "sae.safetensors")) return {Files::Format::sparsify, path / "sae.safetensors", path / "cfg.json"};
  return {Files::Format::saelens, path / "sae_weights.safetensors", path / "cfg.json"};
}

nlohmann::json cfg_of(const Sae& sae, const nlohmann::json& metadata) {
  nlohmann::json cfg{{"d_sae", sae.latents}, {"dtype", "float32"}, {"device", "cpu"}};
  cfg["metadata"] = metadata.is_null() ? nlohmann::json::object() : metadata; // SAELens refuses null
  if (sae.architecture == Sae::Architecture::topk) cfg["k"] = sae.k;
  if (sae.parts.size() > 1) {
    cfg.update({{"architecture", "crosscoder"}, {"activation", name_of(sae.architecture)}, {"d_in_parts", sae.parts}});
    return cfg;
  }
  cfg.update({{"architecture", name_of(sae.architecture)},
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
    return load_gemma_scope_2(files.weights, files.cfg);
  case Files::Format::sparsify:
    return load_sparsify(path);
  case Files::Format::saelens:
    break;
  }
  const Fields cfg = Fields::read(files.cfg, "SAE config");
  const bool crosscoder =
      cfg.has("d_in_parts") || (cfg.holds<std::string>("architecture") && cfg.get<std::string>("architecture") == "crosscoder");
  return crosscoder ? load_crosscoder(path, cfg) : load_saelens(path, cfg);
}

Sae load_sae_on_nodes(const comm::Communicator& comm, const fs::path& path, SaePart part) {
  Sae sae;
  comm::agree(comm, [&] {
    if (comm.rank() == 0) sae = load_sae(path);
  });
  if (part == SaePart::decoder) sae.encoder = {};
  comm::spread(comm, sae.architecture);
  comm::spread(comm, sae.k);
  comm::spread(comm, sae.subtract_b_dec);
  for (Index* size : {&sae.d, &sae.latents}) comm::spread(comm, *size);
  for (auto* values : {&sae.b_enc, &sae.b_dec, &sae.threshold, &sae.b_mag, &sae.r_mag}) comm::spread(comm, *values);
  comm::spread(comm, sae.parts);
  comm::move_to_nodes(comm, {&sae.encoder, &sae.decoder});
  return sae;
}

void save_sae(const fs::path& folder, const Sae& sae, const nlohmann::json& metadata) {
  make_folder(folder);
  const std::vector<Index> parts = sae.parts.empty() ? std::vector<Index>{sae.d} : sae.parts;
  std::map<std::string, io::TensorView> tensors;
  std::vector<std::vector<float>> kept; // what the views show
  kept.reserve(3 * parts.size());
  const auto add = [&](const std::string& name, const std::vector<Index>& shape, std::span<const float> values) {
    if (!values.empty()) tensors[name] = {Dtype::f32, shape, values.data()};
  };
  Index begin = 0;
  for (std::size_t part = 0; part < parts.size(); ++part) {
    const Index width = parts[part];
    const bool whole = parts.size() == 1;
    kept.push_back(whole ? transposed(sae.encoder.values(), sae.latents, sae.d)
                         : transposed(columns(sae.encoder.values(), sae.latents, sae.d, begin, width), sae.latents, width));
    add(part_name("W_enc", sae, part), {width, sae.latents}, kept.back());
    if (!whole) kept.push_back(columns(sae.decoder.values(), sae.latents, sae.d, begin, width));
    add(part_name("W_dec", sae, part), {sae.latents, width}, whole ? sae.decoder.values() : kept.back());
    if (!whole) kept.push_back(columns(sae.b_dec, 1, sae.d, begin, width));
    add(part_name("b_dec", sae, part), {width}, whole ? std::span<const float>(sae.b_dec) : kept.back());
    begin += width;
  }
  add(sae.architecture == Sae::Architecture::gated ? "b_gate" : "b_enc", {sae.latents}, sae.b_enc);
  add("threshold", {sae.latents}, sae.threshold);
  add("b_mag", {sae.latents}, sae.b_mag);
  add("r_mag", {sae.latents}, sae.r_mag);
  io::write_safetensors(folder / "sae_weights.safetensors", tensors);
  write_text_atomic(folder / "cfg.json", json_text(cfg_of(sae, metadata), 2) + "\n");
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
