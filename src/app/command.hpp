#pragma once
// What a stage adds to the command line: its flags, and what they do without a study.

#include "concord/comm/session.hpp"

#include <CLI/CLI.hpp>

#include <functional>
#include <string>

namespace concord::app {

class Command {
public:
  /// `force` and `overrides` are read when the command runs.
  Command(CLI::App& flags, const comm::Communicator& world, const bool& force, const std::vector<std::string>& overrides)
      : flags_(flags), world_(world), force_(force), overrides_(overrides) {}
  CLI::App& flags() { return flags_; }
  /// What the command does without a study. Collective over world().
  void without_study(std::function<void()> action) { action_ = std::move(action); }
  /// Only of a stage that said what this is. Collective over world().
  void run_without_study() const;
  const comm::Communicator& world() const { return world_; }
  bool force() const { return force_; }
  /// What must be given where there is no study. Collective over world(). @throws Error usage, naming `flags`.
  void need(bool given, const char* flags) const;

private:
  CLI::App& flags_;
  const comm::Communicator& world_;
  const bool& force_;
  const std::vector<std::string>& overrides_;
  std::function<void()> action_;
};

} // namespace concord::app
