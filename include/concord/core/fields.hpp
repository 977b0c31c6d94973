#pragma once
/// Typed access to a JSON object whose complaints name the file and the key, and a table of the keys a reader knows. Local.

#include "concord/core/error.hpp"
#include "concord/core/index.hpp"

#include <nlohmann/json.hpp>

#include <cmath>
#include <concepts>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace concord {

/// What a reader of somebody else's file does with each key. A key in none of the lists may change what the numbers mean, so it is refused.
struct KeyTable {
  std::vector<std::string> honoured; ///< read by the reader
  struct Fixed {
    std::string key;
    nlohmann::json value; ///< the one value that is read
    std::string meaning;  ///< of every other value, for the message
    bool or_null = true;  ///< whether null is read as if the key were missing
  };
  std::vector<Fixed> fixed;
  std::vector<std::string> harmless; ///< cannot change the result
};

/// Parses JSON of somebody else. Invalid or very deeply nested JSON gives a discarded value: copies recurse, and a file of brackets must
/// not overflow the stack.
nlohmann::json parse_json(std::string_view text);

template <typename T>
struct IsVector : std::false_type {};
template <typename T>
struct IsVector<std::vector<T>> : std::true_type {};

class Fields {
public:
  Fields(nlohmann::json json, std::string file) : json_(std::move(json)), file_(std::move(file)) {}
  /// The object in a file; `what` is for the message. @throws Error input_missing, or bad_data where it is no JSON object.
  static Fields read(const std::filesystem::path& path, const std::string& what);

  const std::string& file() const { return file_; }
  std::vector<std::string> keys() const;
  /// Whether `key` is there and not null.
  bool has(const std::string& key) const { return json_.contains(key) && !json_[key].is_null(); }
  bool is_null(const std::string& key) const { return json_.contains(key) && json_[key].is_null(); }

  /// Whether `key` is there and its value one of T.
  template <typename T>
  bool holds(const std::string& key) const {
    return json_.contains(key) && fits<T>(json_[key]);
  }

  /// @throws Error bad_data naming file and key: missing, of another type, a whole number that T cannot hold, not finite.
  template <typename T>
  T get(const std::string& key) const {
    require(json_.contains(key), ExitCode::bad_data, "{} has no key {}", file_, key);
    require(fits<T>(json_[key]), ExitCode::bad_data, "{}: the value of {} has the wrong type: {}", file_, key, shown(json_[key]));
    return json_[key].get<T>();
  }
  /// `fallback` where the key is missing; null is a value of the wrong type.
  template <typename T>
  T get_or(const std::string& key, T fallback) const {
    return json_.contains(key) ? get<T>(key) : fallback;
  }
  /// `fallback` where the key is missing or null.
  template <typename T>
  T get_unless_null(const std::string& key, T fallback) const {
    return has(key) ? get<T>(key) : fallback;
  }
  /// A whole number in [low, high]. @throws Error bad_data naming the range.
  Index whole(const std::string& key, Index low, Index high = std::numeric_limits<Index>::max()) const;
  Index whole_or(const std::string& key, Index fallback, Index low, Index high = std::numeric_limits<Index>::max()) const;
  /// All but `key`.
  Fields without(const std::string& key) const {
    Fields others = *this;
    others.json_.erase(key);
    return others;
  }
  /// The object under `key`.
  Fields inside(const std::string& key) const { return {get<nlohmann::json>(key), file_ + ": " + key}; }

  /// Refuses every key that is neither null nor in the table, and fixed ones of another value. `whose` keys they are is for the message.
  /// @throws Error bad_data.
  void check(const KeyTable& table, const std::string& whose = "") const;

private:
  template <typename T>
  static bool fits(const nlohmann::json& value);
  static std::string shown(const nlohmann::json& value);
  nlohmann::json json_;
  std::string file_;
};

template <typename T>
bool Fields::fits(const nlohmann::json& value) {
  if constexpr (std::same_as<T, bool>) {
    return value.is_boolean();
  } else if constexpr (std::integral<T>) {
    if (value.is_number_unsigned()) return value.get<std::uint64_t>() <= static_cast<std::uint64_t>(std::numeric_limits<T>::max());
    return value.is_number_integer() && std::in_range<T>(value.get<std::int64_t>());
  } else if constexpr (std::floating_point<T>) {
    return value.is_number() && std::isfinite(value.get<T>());
  } else if constexpr (std::same_as<T, std::string>) {
    return value.is_string();
  } else if constexpr (IsVector<T>::value) {
    if (!value.is_array()) return false;
    for (const auto& item : value)
      if (!fits<typename T::value_type>(item)) return false;
    return true;
  } else {
    static_assert(std::same_as<T, nlohmann::json>);
    return value.is_object();
  }
}

} // namespace concord
