#pragma once
/// Where a training keeps what it has, OUT.partial, and how that becomes its result. Local.

#include "concord/core/run/provenance.hpp"
#include "concord/sae/sae.hpp"

#include <nlohmann/json.hpp>

#include <filesystem>

namespace concord::sae {

class TrainingFolder {
public:
  TrainingFolder() = default;
  /// @param force  results and checkpoints of other settings or inputs are replaced
  TrainingFolder(std::filesystem::path out, StageKey key, bool force);

  const StageKey& key() const { return key_; }
  const std::string& digest() const { return digest_; }
  std::filesystem::path partial() const { return out_.string() + ".partial"; }
  std::filesystem::path checkpoint() const { return partial() / "checkpoint.safetensors"; }

  /// Whether the result is there. @throws Error config where it is that of another training.
  bool is_done() const;
  /// Whether there is a checkpoint of this training. @throws Error config where it is that of another.
  bool has_checkpoint() const;
  /// Says whose checkpoint it is.
  void sign_checkpoint() const;
  /// Writes the SAE with its cfg.json and training.json, made of `record`, and gives the folder its final name.
  void finish(const Sae& sae, const nlohmann::json& config, nlohmann::json record) const;

private:
  std::filesystem::path out_;
  StageKey key_;
  std::string digest_;
  bool force_ = false;
};

} // namespace concord::sae
