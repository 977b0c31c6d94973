#include "concord/study/study.hpp"

#include "concord/core/error.hpp"
#include "concord/core/text.hpp"

#include <toml++/toml.h>

#include "toml_letters.hpp"
#include <algorithm>
#include <set>

namespace concord::study {
namespace {

using Texts = std::vector<std::string>;

const Setting& known_key(const std::string& name, const std::string& where) {
  const auto found = std::find_if(keys().begin(), keys().end(), [&](const Setting& key) { return key.name == name; });
  if (found != keys().end()) return *found;
  std::vector<std::string> names;
  for (const auto& key : keys()) names.push_back(key.name);
  const auto near = nearest(name, names);
  fail(ExitCode::config, "{}: unknown key {}{} (docs/configuration.md lists all keys)", where, name,
       near ? "; did you mean " + *near + "?" : std::string());
}

std::string element_text(const toml::node& node, const std::string& name, const std::string& where) {
  if (const auto* text = node.as_string()) return letters_moved_back(text->get());
  if (const auto* number = node.as_integer()) return std::to_string(number->get());
  if (const auto* number = node.as_floating_point()) {
    const std::string text = fmt::format("{}", number->get());
    return text.find_first_of(".en") == std::string::npos ? text + ".0" : text; // 2.0 is no layer
  }
  fail(ExitCode::config, "{}: the elements of {} must be texts or numbers", where, name);
}

Value value_of(const toml::node& node, const Setting& key, const std::string& where) {
  const auto wrong = [&](const char* wanted) { fail(ExitCode::config, "{}: {} must be {}", where, key.name, wanted); };
  if (std::holds_alternative<bool>(key.value)) {
    if (const auto* flag = node.as_boolean()) return flag->get();
    wrong("true or false");
  }
  if (std::holds_alternative<Index>(key.value)) {
    if (const auto* number = node.as_integer()) return Index{number->get()};
    wrong("an integer");
  }
  if (std::holds_alternative<double>(key.value)) {
    if (const auto* number = node.as_floating_point()) return number->get();
    if (const auto* number = node.as_integer()) return static_cast<double>(number->get());
    wrong("a number");
  }
  if (std::holds_alternative<std::string>(key.value)) {
    if (const auto* text = node.as_string()) return letters_moved_back(text->get());
    wrong("a text in quotes");
  }
  Texts texts;
  if (const auto* array = node.as_array())
    for (const auto& element : *array) texts.push_back(element_text(element, key.name, where));
  else
    texts.push_back(element_text(node, key.name, where));
  return texts;
}

void flatten(const toml::table& table, const std::string& prefix, const std::string& where, std::map<std::string, Value>& out) {
  for (const auto& [name, node] : table) {
    const std::string full = prefix + letters_moved_back(name.str());
    if (const auto* inner = node.as_table())
      flatten(*inner, full + ".", where, out);
    else
      out[full] = value_of(node, known_key(full, where), where);
  }
}

toml::table parse(const std::string& text, const std::string& where) {
  const std::string_view whole = std::string_view(text).substr(text.starts_with("\xEF\xBB\xBF") ? 3 : 0);
  try {
    return toml::parse(std::string_view(letters_moved(whole, where)), std::string_view(where));
  } catch (const toml::parse_error& error) {
    fail(ExitCode::config, "{}, line {}: {}", where, error.source().begin.line, letters_moved_back(error.description()));
  }
}

/// A basic string of TOML: no control character stands in it as it is.
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f)
      out += fmt::format("\\u{:04X}", byte);
    else
      out += c;
  }
  return out + "\"";
}

std::string as_toml(const Value& value) {
  return std::visit(
      [](const auto& v) -> std::string {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, bool>)
          return v ? "true" : "false";
        else if constexpr (std::is_same_v<T, std::string>)
          return quoted(v);
        else if constexpr (std::is_same_v<T, Texts>) {
          std::vector<std::string> parts;
          parts.reserve(v.size());
          for (const auto& text : v) parts.push_back(quoted(text));
          return "[" + join(parts, ", ") + "]";
        } else if constexpr (std::is_same_v<T, double>) {
          const std::string text = fmt::format("{}", v);
          return text.find_first_of(".en") == std::string::npos ? text + ".0" : text;
        } else
          return fmt::format("{}", v);
      },
      value);
}

} // namespace

void Study::set(const std::string& assignment) {
  const std::size_t equals = assignment.find('=');
  require(equals != std::string::npos, ExitCode::usage, "--set {}: write table.key=value", assignment);
  const std::string name = assignment.substr(0, equals);
  const std::string value = assignment.substr(equals + 1);
  const Setting& key = known_key(name, "--set");
  const bool is_text =
      std::holds_alternative<std::string>(key.value) || (std::holds_alternative<Texts>(key.value) && !value.starts_with("["));
  const bool bare = is_text && !value.starts_with("\"");
  const auto table = parse("value = " + (bare ? quoted(value) : value), "--set " + name);
  values_[name] = value_of(*table.get("value"), key, "--set");
}

Study::Study(const std::filesystem::path& path, const std::vector<std::string>& overrides)
    : Study(read_text(path, "study"), path.string(), std::filesystem::absolute(path).parent_path(), overrides) {}

Study::Study(const std::string& toml, const std::string& where, std::filesystem::path folder, const std::vector<std::string>& overrides)
    : folder_(std::move(folder)) {
  const auto given = parse(toml, where);
  const auto apply = [&] {
    flatten(given, "", where, values_);
    for (const auto& assignment : overrides) set(assignment);
  };
  for (const auto& key : keys()) values_[key.name] = key.value;
  apply();
  if (flag("study.paper")) {
    for (const auto& [name, value] : paper_defaults()) values_[name] = value;
    apply(); // what the study says itself still holds
  }
  check(where);
}

void Study::check(const std::string& where) const {
  for (const auto& key : keys()) settings::check(key.name, values_.at(key.name), key.allowed, where);
  const bool top_k = text("sae.kind") == "topk" || text("sae.kind") == "batch-topk" || text("sae.kind") == "matryoshka";
  require(!top_k || integer("sae.k") <= integer("sae.latents"), ExitCode::config, "{}: sae.k = {} must not be above sae.latents = {}",
          where, integer("sae.k"), integer("sae.latents"));
  require(!flag("correlate.matrix") || !flag("correlate.matrix_coactive"), ExitCode::config,
          "{}: correlate.matrix and correlate.matrix_coactive exclude each other; take one", where);
}

template <typename T>
const T& Study::get(const std::string& key) const {
  const auto found = values_.find(key);
  require(found != values_.end() && std::holds_alternative<T>(found->second), ExitCode::internal, "no study key {} of this type", key);
  return std::get<T>(found->second);
}
template const bool& Study::get(const std::string&) const;
template const Index& Study::get(const std::string&) const;
template const double& Study::get(const std::string&) const;
template const std::string& Study::get(const std::string&) const;
template const std::vector<std::string>& Study::get(const std::string&) const;

std::vector<Model> Study::models() const {
  std::vector<Model> all;
  for (const char* name : {"a", "b"}) {
    const std::string table = std::string("model.") + name;
    const std::string saes = text(table + ".saes");
    all.push_back(
        {name, table, static_cast<int>(all.size()), path(table + ".path"), list(table + ".layers"), saes.empty() ? "" : location(saes)});
  }
  return all;
}

std::vector<Pair> Study::pairs() const {
  const auto all = models();
  std::vector<Pair> pairs;
  for (std::size_t a = 0; a < all.size(); ++a)
    for (std::size_t b = a + 1; b < all.size(); ++b) pairs.push_back({all[a], all[b]});
  return pairs;
}

std::filesystem::path Study::path(const std::string& key) const {
  const std::string value = text(key);
  return value.empty() ? std::filesystem::path() : std::filesystem::path(location(value));
}

std::string Study::location(const std::string& value) const {
  const std::filesystem::path path(value);
  // As it is: "link/../a.txt" is another file to the system than "a.txt".
  return (path.is_absolute() ? path : folder_ / path).string();
}

Value Study::setting(const std::string& key) const {
  const auto known = std::find_if(keys().begin(), keys().end(), [&](const Setting& one) { return one.name == key; });
  require(known != keys().end(), ExitCode::internal, "no study key {}", key);
  const Value& value = values_.at(key);
  return known->allowed.is_path ? located(value) : value;
}

std::string Study::resolved() const {
  std::string out = "# The study with every default filled in and every path absolute\n";
  std::string table;
  for (const auto& key : keys()) {
    const std::size_t dot = key.name.rfind('.');
    if (key.name.substr(0, dot) != table) {
      table = key.name.substr(0, dot);
      out += "\n[" + table + "]\n";
    }
    out += key.name.substr(dot + 1) + " = " + as_toml(setting(key.name)) + "\n";
  }
  return out;
}

Value Study::located(Value value) const {
  const auto locate = [&](std::string& text) {
    if (!text.empty()) text = location(text);
  };
  if (auto* text = std::get_if<std::string>(&value)) locate(*text);
  if (auto* texts = std::get_if<Texts>(&value)) std::for_each(texts->begin(), texts->end(), locate);
  return value;
}

} // namespace concord::study
