#include "app/command.hpp"

#include "concord/comm/agree.hpp"
#include "concord/core/error.hpp"

namespace concord::app {

void Command::run_without_study() const {
  action_();
}

void Command::need(bool given, const char* flags) const {
  comm::agree(world_, [&] {
    const std::string stage = flags_.get_name();
    require(given, ExitCode::usage, "{} needs a study file, or {} (see concord {} --help)", stage, flags, stage);
    require(overrides_.empty(), ExitCode::usage, "--set goes with a study file");
  });
}

} // namespace concord::app
