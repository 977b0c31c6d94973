#include "app/results/results.hpp"

#include "concord/app/stages.hpp"
#include "concord/core/error.hpp"
#include "concord/core/fields.hpp"
#include "concord/core/log.hpp"
#include "concord/core/text.hpp"
#include "concord/io/hdf5.hpp"
#include "concord/io/output.hpp"
#include "concord/io/rows/row_hash.hpp"
#include "concord/sae/sae.hpp"

#include <nlohmann/json.hpp>

namespace concord::app {

namespace fs = std::filesystem;

namespace {

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

nlohmann::json inputs_of(const fs::path& path) {
  const auto file = io::File::open(path);
  require(file.has_attribute("inputs"), ExitCode::bad_data, "{} is no file of a concord stage", path.string());
  auto inputs = parse_json(file.attribute("inputs"));
  require(inputs.is_object(), ExitCode::bad_data, "{}: its attribute inputs is no JSON object", path.string());
  return inputs;
}

/// The SAE, of those that a result was made from, that is another now; "": none.
std::string changed_sae(const fs::path& path, const nlohmann::json& recorded, const StageInput& input) {
  const comm::Communicator alone(MPI_COMM_SELF, boost::mpi::comm_attach); // one rank looks
  for (const auto& [name, digest] : recorded.items()) {
    if (!name.starts_with(input.name)) continue;
    const auto layer = layer_of_name(std::string_view(name).substr(input.name.size()));
    require(layer.has_value(), ExitCode::bad_data, "{}: its input {} names no layer", path.string(), name);
    const auto sae = sae::sae_path(input.location, *layer);
    if (is_there(sae) && digest != sae::sae_digest(alone, sae)) return "SAE " + fs::path(sae).string(); // it may have been put away
  }
  return "";
}

/// The input that is another now than the one that the result was made from; "": none.
std::string changed_input(const fs::path& path, const nlohmann::json& recorded, const StageInput& input) {
  if (input.kind == StageInput::Kind::saes) return changed_sae(path, recorded, input);
  const auto found = recorded.find(input.name);
  if (found == recorded.end() || !is_there(input.location)) return ""; // fused stages have no such input; it may have been put away
  const bool tokens = input.kind == StageInput::Kind::tokens;
  const auto digest = tokens ? io::row_hash_of(io::File::open(input.location)) : io::stage_digest_of(input.location);
  return *found == digest ? "" : input.location;
}

} // namespace

ResultState state_of(const StageResult& result) {
  using Is = ResultState::Is;
  if (!is_there(result.path)) return {is_there(result.path.string() + ".partial") ? Is::unfinished : Is::missing};
  const auto recorded = inputs_of(result.path);
  for (const auto& input : result.reads)
    if (auto changed = changed_input(result.path, recorded, input); !changed.empty()) return {Is::stale, std::move(changed)};
  return {Is::done};
}

void check_results(const study::Study& study) {
  std::vector<std::pair<StageResult, std::string>> there; // with the word of the stage
  for (const Stage& stage : stages()) {
    if (!stage.results) continue;
    for (auto& result : stage.results(study)) {
      const bool found = is_there(result.path);
      require(found || !result.needed, ExitCode::input_missing, "the report needs {}; run `concord {}` first", result.path.string(),
              stage.word);
      if (found) there.emplace_back(std::move(result), stage.word);
    }
  }
  for (const auto& [result, word] : there)
    if (const auto state = state_of(result); state.is == ResultState::Is::stale)
      fail(ExitCode::config,
           "{} was made from another {} than the one that is there now; run `concord {}` with --force, then the stages behind it",
           result.path.string(), state.why, word);
}

void print_status(const study::Study& study) {
  say("{:<14} {:<11} {}", "stage", "state", "result");
  for (const Stage& stage : stages()) {
    if (!stage.results) continue;
    for (const auto& result : stage.results(study)) {
      const auto state = state_of(result);
      if (!result.wanted && state.is == ResultState::Is::missing) continue;
      static constexpr const char* words[] = {"done", "unfinished", "missing", "stale"};
      const std::string why = state.is == ResultState::Is::stale ? ", made from another " + state.why : "";
      say("{:<14} {:<11} {}{}", result.unit, words[static_cast<int>(state.is)], result.path.string(), why);
    }
  }
}

} // namespace concord::app
