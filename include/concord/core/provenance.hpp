#pragma once
/// What made a file: program version, git state, command, libraries, study, inputs. Local.

#include <nlohmann/json.hpp>

#include <functional>
#include <string>

namespace concord {

std::string version();   ///< of the build, such as "0.2.0": CMakeLists.txt has it
std::string git_state(); ///< short commit, with * when the tree was dirty
std::string build_id();  ///< of the program as the linker made it; "" where it wrote none

/// The run that writes files now; set once at start-up by the program.
struct RunRecord {
  std::string command; ///< the command line
  std::string study;   ///< the resolved study as TOML, empty for a stage by itself
  int ranks = 1;
  std::string hosts;     ///< names of the distinct hosts, comma separated
  std::string libraries; ///< "HDF5 1.10.8, libtorch 2.11.0, ..."
  std::uint64_t seed = 0;
  std::function<void()> accepted; ///< called on rank 0 when a stage takes on an output or finds it done; may be empty
};
RunRecord& run_record();

/// Identity of a stage's output: same stage, settings and inputs give the same digest, whatever the ranks.
struct StageKey {
  std::string stage;       ///< the stage word
  nlohmann::json settings; ///< the settings that change the result
  nlohmann::json inputs;   ///< input name -> digest
  std::string digest() const;
};

/// "correlate.min_r: 0.1 -> 0.2; input tokens: 12ab.. -> 77cd..": how two keys differ, for messages.
std::string difference(const StageKey& old_key, const StageKey& new_key);

/// "2026-01-31T12:00:00Z".
std::string utc_now();

} // namespace concord
