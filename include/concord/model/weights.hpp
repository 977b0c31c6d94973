#pragma once
/// The tensors of a Hugging Face model folder: one `model.safetensors`, or else shards listed in
/// `model.safetensors.index.json`; files are mapped when first used. Local where it does not say Collective.

#include "concord/comm/session.hpp"
#include "concord/io/safetensors.hpp"
#include "concord/model/config.hpp"

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace concord::model {

enum class WeightFiles { single, index };
/// The files that a folder is read from, as rank 0 finds them. The single file wins over an index, as in transformers; a line says so
/// where both are there. Collective over `comm`. @throws Error input_missing; agreed.
WeightFiles weight_files(const comm::Communicator& comm, const std::filesystem::path& folder);

class Weights {
public:
  /// @throws Error input_missing or bad_data.
  Weights(const std::filesystem::path& folder, WeightFiles files);
  /// From the files that this process finds.
  explicit Weights(const std::filesystem::path& folder);
  /// A tensor by its name with or without the leading "model." (or another family's like), checked against `shape`.
  /// @throws Error bad_data naming tensor, file and both shapes.
  const io::TensorView& tensor(const std::string& name, const std::vector<Index>& shape);
  bool has(const std::string& name) const;
  /// Lets the pages of a tensor that was copied go: they no longer count as this process's memory. Reading it again is
  /// possible and comes from the file.
  void forget(const io::TensorView& view) const;
  /// Every weight file, sorted.
  std::vector<std::filesystem::path> files() const;

private:
  std::string stored_name(const std::string& name) const;
  std::filesystem::path folder_;
  std::map<std::string, std::string> file_of_; ///< tensor -> file name
  std::map<std::string, std::unique_ptr<io::SafetensorsFile>> open_;
};

/// What the tensors outside of the blocks are called in these files. A tied head and its embedding are one tensor, under the name that the
/// files have. Local.
OuterNames outer_names(const Weights& weights, const ModelConfig& config);

/// Digest of a model folder: its config and every byte of its weight files. Collective over `comm`.
/// @throws Error input_missing, or as io::file_digest() does; agreed.
std::string model_digest(const comm::Communicator& comm, const std::filesystem::path& folder);

} // namespace concord::model
