#pragma once
/// Settings of a study that belong to no stage's module: tables [study], [model.NAME] and [report], and which pairs [subspaces] is about.
/// Local.

#include "concord/core/settings.hpp"

namespace concord::study {

struct StudySettings {
  std::string name = "study";
  std::filesystem::path output = "runs/study";
  Index seed = 0;
  bool paper = false;
  std::vector<std::string> pairs{"all"};

  template <typename Self, typename Visit>
  static void describe(Self& s, Visit&& setting) {
    using namespace settings;
    setting("name", s.name, anything(), "name shown in the report", settings::Digest::ignored);
    setting("output", s.output, anything(), "folder of all results", settings::Digest::ignored);
    setting("seed", s.seed, within(0, largest_index), "seed of every random number");
    setting("paper", s.paper, anything(),
            "take the published pipeline's choices as defaults: its pairing and filters, r > 0.1, SVCCA of one component, 100 shuffles and "
            "random subsets (docs/concepts.md)");
    setting(
        "pairs", s.pairs, anything(),
        "\"all\", or the pairs of models to compare: [[\"gemma-2-2b\", \"gemma-2-9b\"]]; of each pair the first is called A, the second B",
        settings::Digest::ignored);
  }
};

struct ModelSettings {
  std::filesystem::path path;
  std::string same_as;
  std::filesystem::path tokenizer;
  std::vector<std::string> layers{"all"};
  std::string saes;

  template <typename Self, typename Visit>
  static void describe(Self& s, Visit&& setting) {
    using namespace settings;
    setting("path", s.path, anything(), "Hugging Face folder (config.json and safetensors; docs/formats.md lists the families)");
    setting(
        "same_as", s.same_as, anything(),
        "another model of the study, in the place of path: this one has its residual streams, which are not extracted again, and SAEs of "
        "its own with another seed (what two trainings on the same rows agree on bounds what two models can)",
        settings::Digest::ignored);
    setting("tokenizer", s.tokenizer, anything(),
            "its own, where models have different ones: in the place of corpus.tokenizer (docs/concepts.md, two tokenizers)",
            settings::Digest::ignored);
    setting("layers", s.layers, anything(), "\"all\" or a list such as [0, 6, 12]; L is the output of block L, -1 the embedding");
    setting("saes", s.saes, location(),
            "trained SAEs to use, a path with {layer} (SAELens folder or Gemma Scope params.npz); empty: train-sae makes them");
  }
};

struct SubspacesPairs {
  std::vector<std::string> pairs{"all"};

  template <typename Self, typename Visit>
  static void describe(Self& s, Visit&& setting) {
    setting("pairs", s.pairs, settings::anything(), "those of study.pairs whose subspaces are compared, written as there",
            settings::Digest::ignored);
  }
};

struct ReportSettings {
  std::string python;
  Index top_matches = 10;

  template <typename Self, typename Visit>
  static void describe(Self& s, Visit&& setting) {
    using namespace settings;
    setting("python", s.python, anything(), "Python with h5py, numpy and matplotlib; empty: $CONCORD_PYTHON, else .venv, else python3",
            settings::Digest::ignored);
    setting("top_matches", s.top_matches, within(0, largest_int), "best matched features shown", settings::Digest::ignored);
  }
};

} // namespace concord::study
