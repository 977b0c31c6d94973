#include "concord/core/provenance.hpp"

#include "concord/core/digest.hpp"
#include "concord/core/text.hpp"

#include "concord_version.h"
#include <ctime>
#include <vector>

namespace concord {

std::string version() {
  return CONCORD_VERSION;
}
std::string git_state() {
  return CONCORD_GIT;
}

RunRecord& run_record() {
  static RunRecord record;
  return record;
}

std::string StageKey::digest() const {
  return digest_of(nlohmann::json{{"stage", stage}, {"settings", settings}, {"inputs", inputs}}.dump());
}

namespace {

void list_differences(const nlohmann::json& old_values, const nlohmann::json& new_values, const std::string& prefix,
                      std::vector<std::string>& out) {
  const auto flat_old = old_values.flatten();
  const auto flat_new = new_values.flatten();
  for (const auto& [name, value] : flat_new.items())
    if (!flat_old.contains(name))
      out.push_back(prefix + name.substr(1) + " is new");
    else if (flat_old[name] != value)
      out.push_back(prefix + name.substr(1) + ": " + flat_old[name].dump() + " -> " + value.dump());
  for (const auto& [name, value] : flat_old.items())
    if (!flat_new.contains(name)) out.push_back(prefix + name.substr(1) + " is gone");
}

} // namespace

std::string difference(const StageKey& old_key, const StageKey& new_key) {
  std::vector<std::string> parts;
  list_differences(old_key.settings, new_key.settings, "setting ", parts);
  list_differences(old_key.inputs, new_key.inputs, "input ", parts);
  return parts.empty() ? "made by another version" : join(parts, "; ");
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

} // namespace concord
