#include "concord/core/fields.hpp"

#include "concord/core/json_text.hpp"
#include "concord/core/text.hpp"

#include <algorithm>

namespace concord {

nlohmann::json parse_json(std::string_view text) {
  constexpr int deepest = 100;
  int depth = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted && c == '\\')
      ++i;
    else if (c == '"')
      quoted = !quoted;
    else if (!quoted && (c == '[' || c == '{') && ++depth > deepest)
      return nlohmann::json(nlohmann::json::value_t::discarded);
    else if (!quoted && (c == ']' || c == '}'))
      --depth;
  }
  return nlohmann::json::parse(text, nullptr, false);
}

Fields Fields::read(const std::filesystem::path& path, const std::string& what) {
  auto json = parse_json(read_text(path, what));
  require(json.is_object(), ExitCode::bad_data, "{} is not valid JSON", path.string());
  return {std::move(json), path.string()};
}

std::vector<std::string> Fields::keys() const {
  std::vector<std::string> names;
  for (const auto& [key, value] : json_.items()) names.push_back(key);
  return names;
}

std::string Fields::shown(const nlohmann::json& value) {
  const std::string text = json_text(value);
  return text.size() <= 80 ? text : text.substr(0, 77) + "...";
}

Index Fields::whole(const std::string& key, Index low, Index high) const {
  const auto value = get<Index>(key);
  if (high == std::numeric_limits<Index>::max())
    require(value >= low, ExitCode::bad_data, "{}: {} is {}; it must be at least {}", file_, key, value, low);
  require(value >= low && value <= high, ExitCode::bad_data, "{}: {} is {}; it must be a whole number from {} to {}", file_, key, value,
          low, high);
  return value;
}

Index Fields::whole_or(const std::string& key, Index fallback, Index low, Index high) const {
  return json_.contains(key) ? whole(key, low, high) : fallback;
}

void Fields::check(const KeyTable& table, const std::string& whose) const {
  const auto in = [](const std::vector<std::string>& keys, const std::string& key) { return std::ranges::find(keys, key) != keys.end(); };
  for (const auto& [key, value] : json_.items()) {
    if (in(table.honoured, key) || in(table.harmless, key)) continue;
    const auto fixed = std::ranges::find(table.fixed, key, &KeyTable::Fixed::key);
    if (value.is_null() && (fixed == table.fixed.end() || fixed->or_null)) continue;
    require(fixed != table.fixed.end(), ExitCode::bad_data,
            "{}: concord does not know the key {}{}, which may change what the numbers mean; docs/formats.md lists what it reads", file_,
            key, whose);
    require(value == fixed->value, ExitCode::bad_data, "{}: {} is {}, {}; concord reads {} alone", file_, key, shown(value), fixed->meaning,
            fixed->value.dump());
  }
}

} // namespace concord
