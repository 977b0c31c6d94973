#include "concord/study/study.hpp"

#include <nlohmann/json.hpp>

namespace concord::study {
namespace {

template <typename Number>
nlohmann::json of_number(const settings::Allowed& allowed) {
  nlohmann::json schema{{"type", std::is_integral_v<Number> ? "integer" : "number"}};
  if (allowed.anything()) return schema;
  schema[allowed.above_low ? "exclusiveMinimum" : "minimum"] = static_cast<Number>(allowed.low);
  if (allowed.high < settings::any_size) schema[allowed.below_high ? "exclusiveMaximum" : "maximum"] = static_cast<Number>(allowed.high);
  return schema;
}

nlohmann::json of_text(const settings::Allowed& allowed) {
  nlohmann::json schema{{"type", "string"}};
  if (!allowed.words.empty()) schema["enum"] = allowed.words;
  return schema;
}

/// One text stands for a list of one; layers may be numbers.
nlohmann::json of_list(const settings::Allowed& allowed) {
  auto element = of_text(allowed);
  if (allowed.words.empty()) element["type"] = {"string", "integer"};
  return {{"anyOf", {element, {{"type", "array"}, {"items", element}}}}};
}

nlohmann::json of_key(const Setting& key) {
  auto schema = std::visit(
      [&](const auto& value) -> nlohmann::json {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, bool>)
          return {{"type", "boolean"}};
        else if constexpr (std::is_same_v<T, Index> || std::is_same_v<T, double>)
          return of_number<T>(key.allowed);
        else if constexpr (std::is_same_v<T, std::string>)
          return of_text(key.allowed);
        else
          return of_list(key.allowed);
      },
      key.value);
  schema["description"] = key.help;
  std::visit([&](const auto& value) { schema["default"] = value; }, key.value);
  return schema;
}

} // namespace

std::string keys_as_json_schema() {
  const auto table = [](const char* title) {
    return nlohmann::json{{"type", "object"}, {"additionalProperties", false}, {"title", title}, {"properties", nlohmann::json::object()}};
  };
  auto schema = table("A study of concord");
  schema["$schema"] = "https://json-schema.org/draft/2020-12/schema";
  for (const auto& key : keys()) {
    auto* inside = &schema;
    std::size_t begin = 0;
    for (std::size_t dot = key.name.find('.'); dot != std::string::npos; dot = key.name.find('.', begin)) {
      const std::string name = key.name.substr(begin, dot - begin);
      const bool any_name = name == "NAME"; // of a model
      auto& properties = (*inside)[any_name ? "patternProperties" : "properties"];
      const std::string of = any_name ? "^[A-Za-z0-9][A-Za-z0-9._-]*$" : name;
      if (!properties.contains(of)) properties[of] = table(key.name.substr(0, dot).c_str());
      inside = &properties[of];
      begin = dot + 1;
    }
    (*inside)["properties"][key.name.substr(begin)] = of_key(key);
  }
  return schema.dump(2);
}

} // namespace concord::study
