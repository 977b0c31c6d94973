#pragma once
/// Where a study's results lie. Local.

#include "concord/study/study.hpp"

#include <filesystem>
#include <string>

namespace concord::app {

struct StudyFiles {
  explicit StudyFiles(const study::Study& study) : output(study.path("study.output")) {}
  std::filesystem::path output;

  std::filesystem::path tokens(const study::Model& model) const { return output / model.tokens; }
  std::filesystem::path graph() const { return output / "graph.h5"; }
  std::filesystem::path report() const { return output / "report"; }
  std::filesystem::path resolved() const { return output / "study.resolved.toml"; }

  std::filesystem::path activations(const study::Model& model) const { return output / model.extracted / "activations.h5"; }
  std::filesystem::path features(const study::Model& model) const { return of(model) / "features.h5"; }
  std::filesystem::path recovered(const study::Model& model) const { return of(model) / "recovered.json"; }
  /// Folder of trained SAEs, or the location that the study gives.
  std::string saes(const study::Model& model) const { return model.saes.empty() ? (of(model) / "saes").string() : model.saes; }

  /// Folder of a pair's results.
  std::filesystem::path of(const study::Pair& pair) const { return output / pair.folder; }
  std::filesystem::path matches(const study::Pair& pair) const { return of(pair) / "matches.h5"; }
  /// Best partners on shifted rows.
  std::filesystem::path shifted(const study::Pair& pair) const { return of(pair) / "shifted.h5"; }
  std::filesystem::path similarity(const study::Pair& pair) const { return of(pair) / "similarity.h5"; }
  std::filesystem::path subspaces(const study::Pair& pair) const { return of(pair) / "subspaces.h5"; }
  std::filesystem::path crosscoder(const study::Pair& pair, int layer_a, int layer_b) const;

private:
  std::filesystem::path of(const study::Model& model) const { return output / model.folder; }
};

} // namespace concord::app
