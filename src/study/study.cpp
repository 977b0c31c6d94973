#include "concord/study/study.hpp"

#include "concord/core/error.hpp"
#include "concord/core/text.hpp"

#include <toml++/toml.h>

#include "study/model_table.hpp"
#include "study/toml_letters.hpp"
#include <algorithm>
#include <set>

namespace concord::study {
namespace {

using Texts = std::vector<std::string>;

/// The NAME of "model.NAME.key"; "" of other keys.
std::string model_of(const std::string& key) {
  const std::size_t begin = std::string_view(model_table).size();
  const std::size_t end = key.rfind('.');
  return key.starts_with(model_table) && end > begin ? key.substr(begin, end - begin) : std::string();
}

/// A name of files, too.
bool is_model_name(const std::string& name) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); };
  return !name.empty() && name.size() <= 100 && letter(name[0]) &&
         std::all_of(name.begin(), name.end(), [&](char c) { return letter(c) || c == '.' || c == '-' || c == '_'; });
}

/// The same key of the model that keys() names: "model.NAME.path" of "model.small.path".
std::string listed_name(const std::string& name) {
  return model_of(name).empty() ? name : std::string(model_table) + "NAME" + name.substr(name.rfind('.'));
}

/// Nothing where there is no such key.
const Setting* find_key(const std::string& name) {
  const std::string listed = listed_name(name);
  const auto found = std::find_if(keys().begin(), keys().end(), [&](const Setting& key) { return key.name == listed; });
  return found == keys().end() ? nullptr : &*found;
}

/// Of a model: this model's name in the place of the one that keys() has.
Setting of_model(Setting key, const std::string& model) {
  key.name = model_table + model + key.name.substr(key.name.rfind('.'));
  return key;
}

[[noreturn]] void fail_unknown(const std::string& name, const std::string& where) {
  const std::string model = model_of(name);
  std::vector<std::string> names;
  for (const Setting& key : keys())
    names.push_back(!model.empty() && key.name.starts_with(model_table) ? of_model(key, model).name : key.name);
  require(!name.starts_with("skyline."), ExitCode::config,
          "{}: {}: the skyline is a model of its own now: [model.again] with same_as = \"a\" and layers (docs/concepts.md)", where, name);
  const auto near = nearest(name, names);
  fail(ExitCode::config, "{}: unknown key {}{} (docs/configuration.md lists all keys)", where, name,
       near ? "; did you mean " + *near + "?" : std::string());
}

Setting known_key(const std::string& name, const std::string& where) {
  const Setting* key = find_key(name);
  if (key == nullptr) fail_unknown(name, where);
  const std::string model = model_of(name);
  if (model.empty()) return *key;
  require(is_model_name(model), ExitCode::config,
          "{}: {} cannot be the name of a model: take letters, digits, '.', '-' and '_', a letter or digit first", where, model);
  return of_model(*key, model);
}

/// The models' names, as the study has them one behind the other.
std::vector<std::string> names_of_models(const toml::table& study) {
  const auto* models = study["model"].as_table();
  if (models == nullptr) return {};
  std::vector<std::pair<toml::source_position, std::string>> found;
  for (const auto& [name, node] : *models)
    if (node.is_table()) found.emplace_back(name.source().begin, letters_moved_back(name.str()));
  std::stable_sort(found.begin(), found.end(), [](const auto& x, const auto& y) { return x.first < y.first; });
  std::vector<std::string> names;
  for (auto& one : found) names.push_back(std::move(one.second));
  return names;
}

std::string element_text(const toml::node& node, const std::string& name, const std::string& where) {
  if (const auto* pair = node.as_array();
      pair != nullptr && name.ends_with(".pairs") && pair->size() == 2 && pair->is_homogeneous<std::string>())
    return letters_moved_back(pair->get(0)->as_string()->get()) + ":" + letters_moved_back(pair->get(1)->as_string()->get());
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
  const Setting key = known_key(name, "--set");
  const bool is_text =
      std::holds_alternative<std::string>(key.value) || (std::holds_alternative<Texts>(key.value) && !value.starts_with("["));
  const bool bare = is_text && !value.starts_with("\"");
  const auto table = parse("value = " + (bare ? quoted(value) : value), "--set " + name);
  know_model_of(name);
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
  models_ = names_of_models(given);
  apply();
  if (std::all_of(models_.begin(), models_.end(), [](const auto& name) { return name == "a" || name == "b"; })) models_ = {"a", "b"};
  for (const auto& [name, value] : values_) // [model.x.y] is a table inside of x, and no model
    if (const auto model = model_of(name); !model.empty() && !has_model(model)) fail_unknown(name, where);
  for (const auto& key : own_keys()) values_.try_emplace(key.name, key.value);
  if (flag("study.paper")) {
    for (const auto& [name, value] : paper_defaults()) values_[name] = value;
    apply(); // what the study says itself still holds
  }
  check(where);
}

void Study::check(const std::string& where) const {
  for (const auto& key : own_keys()) settings::check(key.name, values_.at(key.name), key.allowed, where);
  check_models(where);
  check_pairs("study.pairs", where);
  check_pairs("subspaces.pairs", where);
  const auto all = pairs();
  for (const auto& pair : pairs("subspaces.pairs"))
    require(
        std::any_of(all.begin(), all.end(), [&](const Pair& other) { return other.a.name == pair.a.name && other.b.name == pair.b.name; }),
        ExitCode::config, "{}: subspaces.pairs names {} and {}, which study.pairs does not", where, pair.a.name, pair.b.name);
  check_tokenizers(where);
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

std::vector<Setting> Study::own_keys() const {
  std::vector<Setting> own;
  std::vector<Setting> of_a_model; // one behind the other in keys()
  for (const auto& key : keys()) {
    if (key.name.starts_with(model_table)) {
      of_a_model.push_back(key);
      continue;
    }
    if (!of_a_model.empty())
      for (const auto& name : models_)
        for (const Setting& one : of_a_model) own.push_back(of_model(one, name));
    of_a_model.clear();
    own.push_back(key);
  }
  return own;
}

void Study::know_model_of(const std::string& key) {
  const std::string name = model_of(key);
  if (!name.empty() && !has_model(name)) models_.push_back(name);
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
  const auto value = values_.find(key);
  const Setting* known = find_key(key);
  require(known != nullptr && value != values_.end(), ExitCode::internal, "no study key {}", key);
  return known->allowed.is_path ? located(value->second) : value->second;
}

std::string Study::resolved() const {
  std::string out = "# The study with every default filled in and every path absolute\n";
  std::string table;
  for (const auto& key : own_keys()) {
    const std::size_t dot = key.name.rfind('.');
    if (key.name.substr(0, dot) != table) {
      table = key.name.substr(0, dot);
      const std::string model = model_of(key.name);
      out += "\n[" + (model.empty() ? table : model_table + quoted(model)) + "]\n";
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
