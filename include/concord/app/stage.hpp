#pragma once
/// A stage as a value: from the list of them (stages.hpp) follow the commands, the order of `run`, `status`, `plan`, `verify`, the chain of
/// jobs and what the report may show side by side.

#include "concord/app/study_files.hpp"
#include "concord/comm/session.hpp"
#include "concord/comm/stop.hpp"
#include "concord/study/study.hpp"

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace concord::app {

class Command;
struct PlanSizes;
struct StagePlan;

/// Which of a stage's units a run makes: those whose number, in the order in which the stage takes them, leaves `number` when divided by
/// `of`.
struct Share {
  std::size_t number = 0;
  std::size_t of = 1;
  bool has(std::size_t unit) const { return unit % of == number; }
};

/// One run of a stage over a study.
struct StageRun {
  const comm::Communicator& comm;
  const study::Study& study;
  const StudyFiles& files;
  bool force = false; ///< replace results that were made with other settings or inputs
  Share share = {};   ///< of the stage's units; others are left to other runs
};

/// What a result was made from, as its file records it: the digest of `location` under `name`.
struct StageInput {
  enum class Kind { tokens, file, saes }; ///< of saes: one digest a layer, each under `name` and the layer's name
  std::string name;
  std::string location; ///< a file, or SAEs with {layer}
  Kind kind = Kind::file;
};

/// An HDF5 file that a stage writes for one unit: the study, a model, or a pair of models.
struct StageResult {
  std::string unit; ///< "encode a": the stage's word, and the model or pair where there are several
  std::filesystem::path path;
  std::vector<StageInput> reads;
  bool wanted = true; ///< the study asks for it
  bool needed = true; ///< the report cannot do without it
};

/// Reads a file that a stage wrote and says a line about what is in it. Local. @throws Error bad_data, or stopped.
using FileCheck = std::function<std::string(const std::filesystem::path& path, std::string& warning, const comm::StopWithin& stop)>;

struct Stage {
  std::string word;
  std::string help;  ///< of the command
  std::string table; ///< of its settings in a study
  /// What it makes one after the other, of which a run may make a share ("models"); "": it makes one thing.
  std::string units = {};
  /// Adds the flags of the stage by itself, without a study. Empty: there is no such way.
  std::function<void(Command& command)> command;
  /// The study's keys of flags that are named otherwise: {"--text", "corpus.paths"}; "": a study has none.
  std::map<std::string, std::string> keys_of_flags;
  /// Whether a study gives it anything to do; empty: every study does. Local. @throws Error config.
  std::function<bool(const study::Study& study)> has_work = {};
  /// Makes what is not done yet. Collective over run.comm. @throws Error, agreed.
  std::function<void(const StageRun& run)> run;
  /// In the order in which they are made. Local.
  std::function<std::vector<StageResult>(const study::Study& study)> results;
  /// What it takes; empty: nothing worth a line. Local.
  std::function<std::vector<StagePlan>(const PlanSizes& sizes)> plan;
  /// By the words that its files record as their stage.
  std::map<std::string, FileCheck> checks;
};

} // namespace concord::app
