#include "sae/training/folder/training_folder.hpp"

#include "concord/core/digest.hpp"
#include "concord/core/error.hpp"
#include "concord/core/json_text.hpp"
#include "concord/core/text.hpp"

#include "sae/format/sae_folder.hpp"

namespace concord::sae {

namespace fs = std::filesystem;

TrainingFolder::TrainingFolder(fs::path out, StageKey key, bool force)
    : out_(std::move(out)), key_(std::move(key)), digest_(key_.digest()), force_(force) {}

bool TrainingFolder::is_done() const {
  const auto record = record_of_sae(out_);
  if (!record) return false;
  if (record->value("stage_digest", "") == digest_) return true;
  if (force_) return false;
  const auto part = [&](const char* name) { return record->at(name).is_object() ? record->at(name) : nlohmann::json::object(); };
  fail(ExitCode::config, "{} holds an SAE trained with other settings or inputs ({}); choose another output, or give --force to replace it",
       out_.string(), difference({"train-sae", part("settings"), part("inputs")}, key_));
}

bool TrainingFolder::has_checkpoint() const {
  if (!fs::exists(checkpoint()) || !fs::exists(partial() / "digest")) return false;
  if (read_text(partial() / "digest", "checkpoint digest") == digest_) return true;
  if (force_) return false;
  fail(ExitCode::config, "{} belongs to a training with other settings or inputs; choose another output, or give --force to start anew",
       partial().string());
}

void TrainingFolder::sign_checkpoint() const {
  write_text_atomic(partial() / "digest", digest_);
}

void TrainingFolder::finish(const Sae& sae, const nlohmann::json& config, nlohmann::json record) const {
  save_sae(partial(), sae, config);
  record.update({{"stage_digest", digest_},
                 {"settings", key_.settings},
                 {"inputs", key_.inputs},
                 {"weights_digest", digest_of_file(partial() / "sae_weights.safetensors")},
                 {"software", "concord " + version()},
                 {"git", git_state()},
                 {"command", run_record().command},
                 {"date", utc_now()}});
  write_text_atomic(partial() / "training.json", json_text(record, 2) + "\n");
  remove_sae(out_);
  fs::rename(partial(), out_);
  fs::remove(out_ / "checkpoint.safetensors"); // last, so that a kill before the rename loses nothing
  fs::remove(out_ / "digest");
}

} // namespace concord::sae
