#pragma once
/// A sparse autoencoder: its weights, what its encoder does, and the file formats of others. Local.

#include "concord/core/index.hpp"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <string>
#include <vector>

namespace concord::sae {

/// h = (x - b_dec * subtract_b_dec) W_enc + b_enc;  a = selected(relu(h));  reconstruction = a W_dec + b_dec.
/// Selected: the k largest of a row (topk), those above a threshold each (jumprelu), or all (standard).
struct Sae {
  enum class Architecture { topk, jumprelu, standard };
  Architecture architecture = Architecture::topk;
  Index d = 0;       ///< width of the residual stream
  Index latents = 0; ///< F
  int k = 0;         ///< topk only
  bool subtract_b_dec = true;
  std::vector<float> encoder;   ///< [F, d], row j is column j of W_enc
  std::vector<float> decoder;   ///< [F, d], W_dec
  std::vector<float> b_enc;     ///< [F]
  std::vector<float> b_dec;     ///< [d]
  std::vector<float> threshold; ///< [F], jumprelu only
};

/// Loads a SAELens folder (cfg.json + sae_weights.safetensors, version 6 or older topk/standard/jumprelu) or a Gemma Scope
/// params.npz. Orientation and sizes are checked. @throws Error input_missing or bad_data.
Sae load_sae(const std::filesystem::path& path);

/// Writes cfg.json and sae_weights.safetensors as SAELens 6 reads them. `metadata` becomes cfg.metadata. @throws Error io.
void save_saelens(const std::filesystem::path& folder, const Sae& sae, const nlohmann::json& metadata);

/// Digest of the files behind load_sae(path). @throws Error input_missing.
std::string sae_digest(const std::filesystem::path& path);

/// "saes/layer_{layer}/x" with {layer} replaced by the number; a template without {layer} gets /layer_LLL appended.
std::filesystem::path sae_path(const std::string& location, int layer);

} // namespace concord::sae
