#include "sae/format/sae_folder.hpp"

#include "concord/core/error.hpp"
#include "concord/core/fields.hpp"
#include "concord/core/text.hpp"

#include <algorithm>
#include <array>

namespace concord::sae {

namespace fs = std::filesystem;

namespace {

/// All that a training leaves, also when it is killed between the renaming of the folder and the end.
constexpr std::array own_files{"cfg.json",       "sae_weights.safetensors", "training.json",
                               "training.jsonl", "checkpoint.safetensors",  "digest"};

[[noreturn]] void refuse(const fs::path& folder, const std::string& why) {
  fail(ExitCode::config, "{} {}, so it is not replaced, not even with --force; choose another output", folder.string(), why);
}

void check_ours(const fs::path& folder) {
  std::error_code error;
  fs::directory_iterator entries(folder, error);
  require(!error, ExitCode::io, "cannot read the folder {}: {}", folder.string(), error.message());
  for (const auto& entry : entries) {
    const auto name = entry.path().filename().string();
    if (std::find(own_files.begin(), own_files.end(), name) == own_files.end() || entry.is_directory(error))
      refuse(folder, "holds " + name + ", which no training writes");
  }
}

} // namespace

std::optional<nlohmann::json> record_of_sae(const fs::path& folder) {
  std::error_code error;
  const auto status = fs::status(folder, error);
  if (status.type() == fs::file_type::not_found) return std::nullopt;
  require(status.type() != fs::file_type::none, ExitCode::io, "cannot look at {}: {}", folder.string(), error.message());
  if (!fs::is_directory(status)) refuse(folder, "is no folder");
  if (fs::is_empty(folder, error)) return std::nullopt;
  check_ours(folder);
  const fs::path path = folder / "training.json";
  const auto record = fs::exists(path, error) ? parse_json(read_text(path, "training record")) : nlohmann::json();
  const bool whole = record.is_object() && record.contains("stage_digest") && record["stage_digest"].is_string() &&
                     record.contains("settings") && record.contains("inputs");
  if (!whole) refuse(folder, "holds no SAE that concord trained");
  return record;
}

void remove_sae(const fs::path& folder) {
  record_of_sae(folder);
  const auto remove = [](const fs::path& path) {
    std::error_code error;
    fs::remove(path, error); // a link goes, not what it points to
    require(!error, ExitCode::io, "cannot remove {}: {}", path.string(), error.message());
  };
  for (const char* name : own_files) remove(folder / name);
  remove(folder);
}

} // namespace concord::sae
