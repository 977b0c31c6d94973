#pragma once
/// JSON as text. Local.

#include <nlohmann/json.hpp>

#include <string>

namespace concord {

/// Paths and names from outside may hold any bytes: those that are not UTF-8 become U+FFFD.
inline std::string json_text(const nlohmann::json& json, int indent = -1) {
  return json.dump(indent, ' ', false, nlohmann::json::error_handler_t::replace);
}

} // namespace concord
