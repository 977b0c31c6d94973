#include "sae/training/folder/training_log.hpp"

#include "concord/core/error.hpp"
#include "concord/core/fields.hpp"
#include "concord/core/text.hpp"

#include <algorithm>
#include <sstream>

namespace concord::sae {

TrainingLog::TrainingLog(std::filesystem::path path, Index steps)
    : path_(std::move(path)), steps_(steps), every_(std::max<Index>(1, steps / 500)) {}

void TrainingLog::go_on_behind(Index step) {
  std::string kept;
  if (step > 0 && std::filesystem::exists(path_)) {
    std::istringstream lines(read_text(path_, "training log"));
    for (std::string line; std::getline(lines, line);) {
      const Fields record(parse_json(line), path_.string()); // a kill may have cut the last one
      if (record.holds<Index>("step") && record.get<Index>("step") <= step) kept += line + "\n";
    }
  }
  write_text_atomic(path_, kept);
  file_.open(path_, std::ios::app);
  require(file_.good(), ExitCode::io, "cannot write {}", path_.string());
}

void TrainingLog::write(const nlohmann::json& line) {
  file_ << line.dump() << std::endl; // whole lines are there for whoever looks on
  require(file_.good(), ExitCode::io, "cannot write {}; is the disk full?", path_.string());
}

} // namespace concord::sae
