#pragma once
/// What the readers of SAE formats share: arrays of a safetensors file by name and shape, and foldings of scales into weights. Local.

#include "concord/core/fields.hpp"
#include "concord/io/safetensors.hpp"
#include "concord/sae/sae.hpp"

#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace concord::sae {

/// [rows, cols] -> [cols, rows].
std::vector<float> transposed(std::span<const float> matrix, Index rows, Index cols);

/// `keys` of cfg.json that ask for the shape are for the message. @throws Error bad_data naming file and array: missing, another shape.
void check_shape(const io::SafetensorsFile& file, const std::string& name, const std::vector<Index>& shape, const std::string& keys = "");

/// An array of exactly this shape, as f32. @throws Error as check_shape(), or where a value is not finite.
std::vector<float> floats_of(const io::SafetensorsFile& file, const std::string& name, const std::vector<Index>& shape,
                             const std::string& keys = "");

/// Refuses arrays of other names, which a reader would drop without knowing what they do, and files without one of `needed`. `kind` of SAE
/// is for the message. @throws Error bad_data naming file, array and kind.
void only_arrays(const io::SafetensorsFile& file, const std::vector<std::string>& names, const std::vector<std::string>& needed,
                 const std::string& kind);

/// d and F of a cfg, in range. @throws Error bad_data.
void read_sizes(const Fields& cfg, Sae& sae);

/// k of a TopK SAE: a whole number from 1 to F, which is the value of `size`. @throws Error bad_data naming the keys.
int read_k(const Fields& cfg, Index latents, const std::string& size);

/// The biases and thresholds of an architecture under SAELens' names. @throws Error bad_data.
void read_latent_arrays(const io::SafetensorsFile& weights, Sae& sae);
/// Their names.
std::vector<std::string> latent_arrays(Sae::Architecture architecture);

/// @throws Error bad_data naming `key` and the architectures that concord encodes.
Sae::Architecture architecture_named(const std::string& name, const Fields& cfg, const std::string& key);
std::string name_of(Sae::Architecture architecture);

/// "W_enc" of a lone model, "W_enc_a", "W_enc_b" of a crosscoder's.
std::string part_name(const std::string& name, const Sae& sae, std::size_t part);

Sae load_saelens(const std::filesystem::path& folder, const Fields& cfg);
Sae load_crosscoder(const std::filesystem::path& folder, const Fields& cfg);
Sae load_sparsify(const std::filesystem::path& folder);
Sae load_gemma_scope(const std::filesystem::path& npz);
/// `config` is empty where there is none.
Sae load_gemma_scope_2(const std::filesystem::path& weights, const std::filesystem::path& config);

} // namespace concord::sae
