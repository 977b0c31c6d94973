#pragma once
/// Typed access to a JSON object whose complaints name the file and the key. Local.

#include "concord/core/error.hpp"

#include <nlohmann/json.hpp>

#include <string>

namespace concord::model {

class Fields {
public:
  Fields(nlohmann::json json, std::string file) : json_(std::move(json)), file_(std::move(file)) {}
  const std::string& file() const { return file_; }
  bool has(const char* key) const { return json_.contains(key) && !json_[key].is_null(); }
  template <typename T>
  T get(const char* key) const {
    require(has(key), ExitCode::bad_data, "{} has no key {}", file_, key);
    try {
      return json_[key].get<T>();
    } catch (const nlohmann::json::exception&) {
      fail(ExitCode::bad_data, "{}: the value of {} has the wrong type: {}", file_, key, json_[key].dump());
    }
  }
  template <typename T>
  T get_or(const char* key, T fallback) const {
    return has(key) ? get<T>(key) : fallback;
  }
  /// The object under `key`.
  Fields inside(const char* key) const { return {get<nlohmann::json>(key), file_ + ": " + key}; }

private:
  nlohmann::json json_;
  std::string file_;
};

} // namespace concord::model
