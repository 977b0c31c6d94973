#pragma once
/// Flags of a stage by itself, made from the settings that it describes (core/settings.hpp). Local.

#include "concord/core/settings.hpp"

#include <CLI/CLI.hpp>

#include <map>
#include <memory>
#include <set>

namespace concord::app {

/// "--min-auc" of "min_auc".
std::string flag_of(const std::string& setting);

/// The values that flags gave, by the names of their settings.
using GivenSettings = std::map<std::string, settings::Value>;

/// How the flags of a stage differ from the names of its settings.
struct FlagNames {
  std::map<std::string, std::string> also = {}; ///< a second flag of a setting: {"latents", "--d-sae"}
  std::set<std::string> without = {};           ///< settings that mean nothing without a study, or whose flag the stage makes itself
};

/// One flag a setting; a bool's has a second one, "--no-...", that turns it off. A value that is not allowed ends the program as any wrong
/// flag does.
std::shared_ptr<GivenSettings> add_setting_flags(CLI::App& app, const std::vector<settings::Setting>& list, const FlagNames& names = {});

/// Gives each member the value of its flag, where it was given.
template <typename Settings>
void assign_given(Settings& s, const GivenSettings& given) {
  std::map<std::string, settings::Value> values;
  for (const auto& setting : settings::list_of(s)) values[setting.name] = setting.value;
  for (const auto& [name, value] : given) values[name] = value;
  settings::assign(s, [&](const std::string& name) { return values.at(name); });
}

} // namespace concord::app
