#pragma once
/// A study's stages: which files each reads and writes, and how its settings come from the study. Collective over `comm`.

#include "concord/comm/session.hpp"
#include "concord/correlate/correlate.hpp"
#include "concord/extract/options.hpp"
#include "concord/features/encode.hpp"
#include "concord/sae/training/train.hpp"
#include "concord/similarity/compare.hpp"
#include "concord/study/study.hpp"
#include "concord/subspaces/subspaces.hpp"

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace concord::app {

/// Where a study's results lie.
struct StudyFiles {
  explicit StudyFiles(const study::Study& study);
  std::filesystem::path output;
  std::filesystem::path tokens() const { return output / "tokens.h5"; }
  std::filesystem::path activations(char model) const { return folder(model) / "activations.h5"; }
  std::filesystem::path features(char model) const { return folder(model) / "features.h5"; }
  std::filesystem::path recovered(char model) const { return folder(model) / "recovered.json"; }
  std::filesystem::path matches() const { return output / "matches.h5"; }
  std::filesystem::path similarity() const { return output / "similarity.h5"; }
  std::filesystem::path subspaces() const { return output / "subspaces.h5"; }
  std::filesystem::path crosscoder(int layer_a, int layer_b) const;
  /// Results of the second SAEs of A.
  std::filesystem::path skyline() const { return output / "skyline"; }
  std::string skyline_saes(const study::Study& study) const;
  std::filesystem::path report() const { return output / "report"; }
  std::filesystem::path resolved() const { return output / "study.resolved.toml"; }
  /// Folder of trained SAEs, or the location that the study gives.
  std::string saes(const study::Study& study, char model) const;

private:
  std::filesystem::path folder(char model) const { return output / std::string(1, model); }
};

/// The study's settings of a stage, for model 'a' or 'b' or both. Local. @throws Error config.
extract::ExtractOptions extract_options(const study::Study& study, char model);
sae::TrainOptions train_options(const study::Study& study); ///< of any layer: without its rows, seed and output
features::EncodeOptions encode_options(const study::Study& study, char model);
correlate::CorrelateOptions correlate_options(const study::Study& study);
similarity::CompareOptions compare_options(const study::Study& study);
subspaces::SubspacesOptions subspaces_options(const study::Study& study);

/// A stage of a study: its word, and what runs it.
struct Stage {
  std::string word;
  std::function<void(const comm::Communicator& comm, const study::Study& study, const StudyFiles& files, bool force)> run;
};
/// In the order in which `run` takes them. Local.
const std::vector<Stage>& stages();

/// Runs one stage of the study. @throws Error, agreed.
void run_stage(const comm::Communicator& comm, const std::string& stage, const study::Study& study, bool force);

} // namespace concord::app
