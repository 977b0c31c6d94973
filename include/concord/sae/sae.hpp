#pragma once
/// A sparse autoencoder: its weights, what its encoder does, and the file formats of others. Local.

#include "concord/comm/node/node_floats.hpp"
#include "concord/comm/session.hpp"
#include "concord/core/index.hpp"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <string>
#include <vector>

namespace concord::sae {

/// h = (x - b_dec * subtract_b_dec) W_enc + b_enc;  a = selected(relu(h));  reconstruction = a W_dec + b_dec.
/// Selected: the k largest of a row (topk), those above a threshold each (jumprelu), all (standard); gated: where h > 0,
/// a = relu(exp(r_mag) (h - b_enc) + b_mag), b_enc being the gate's bias.
/// A crosscoder is one SAE over the rows of two models side by side: `parts` are their widths.
struct Sae {
  enum class Architecture { topk, jumprelu, standard, gated };
  Architecture architecture = Architecture::topk;
  Index d = 0;       ///< width of the residual stream
  Index latents = 0; ///< F
  int k = 0;         ///< topk only
  bool subtract_b_dec = true;
  comm::NodeFloats encoder;      ///< [F, d], row j is column j of W_enc
  comm::NodeFloats decoder;      ///< [F, d], W_dec
  std::vector<float> b_enc;      ///< [F]
  std::vector<float> b_dec;      ///< [d]
  std::vector<float> threshold;  ///< [F], jumprelu only
  std::vector<float> b_mag;      ///< [F], gated only
  std::vector<float> r_mag;      ///< [F], gated only
  std::vector<Index> parts = {}; ///< widths of the models of a crosscoder, else empty
};

/// Loads an SAE of any format that concord reads; which one is told from the files:
///   a folder of SAELens (cfg.json + sae_weights.safetensors), version 6 or older: topk, jumprelu, standard, gated; or a crosscoder of
///   concord's own; a folder of sparsify (cfg.json + sae.safetensors): topk; Gemma Scope: params.npz, or a folder with params.safetensors
///   (Gemma Scope 2).
/// dictionary_learning's pickles: scripts/convert_sae.py. Orientation, sizes and finiteness are checked.
/// @throws Error input_missing or bad_data.
Sae load_sae(const std::filesystem::path& path);
enum class SaePart { all, decoder };
/// The same with the encoder and the decoder once a node (8 F d bytes), or the decoder alone. Rank 0 alone reads the files. Collective over
/// `comm`, which must outlive the SAE. @throws Error as load_sae(), or unavailable; agreed.
Sae load_sae_on_nodes(const comm::Communicator& comm, const std::filesystem::path& path, SaePart part = SaePart::all);

/// Writes cfg.json and sae_weights.safetensors as SAELens 6 reads them; a crosscoder, which it does not know, with the arrays of
/// each model by themselves (docs/formats.md). `metadata` becomes cfg.metadata. @throws Error io.
void save_sae(const std::filesystem::path& folder, const Sae& sae, const nlohmann::json& metadata);

/// Digest of the files behind load_sae(path). Collective over `comm`. @throws Error input_missing, or as io::file_digest() does; agreed.
std::string sae_digest(const comm::Communicator& comm, const std::filesystem::path& path);

/// "saes/layer_{layer}/x" with {layer} replaced by the number; a template without {layer} gets /layer_LLL appended.
std::filesystem::path sae_path(const std::string& location, int layer);

} // namespace concord::sae
