#include "app/command/command.hpp"

#include "concord/comm/agree.hpp"
#include "concord/core/error.hpp"
#include "concord/core/run/provenance.hpp"

namespace concord::app {

void Command::run_without_study() const {
  const auto* seed = flags_.get_option_no_throw("--seed");
  if (seed != nullptr) run_record().seed = seed->as<std::uint64_t>();
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
