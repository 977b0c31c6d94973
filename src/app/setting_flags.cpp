#include "app/setting_flags.hpp"

#include "concord/core/text.hpp"

#include <algorithm>
#include <charconv>

namespace concord::app {
namespace {

using settings::Setting;
using settings::Value;

std::string shown(const Value& value) {
  if (const auto* whole = std::get_if<Index>(&value)) return std::to_string(*whole);
  if (const auto* real = std::get_if<double>(&value)) return fmt::format("{}", *real);
  if (const auto* texts = std::get_if<std::vector<std::string>>(&value)) return join(*texts, ",");
  return std::get<std::string>(value);
}

/// The text of a flag as a value of the setting's kind. @throws CLI::ValidationError
Value parsed(const Setting& setting, const std::string& text) {
  const std::string flag = flag_of(setting.name);
  if (std::holds_alternative<Index>(setting.value)) {
    const auto whole = whole_number(text);
    if (!whole) throw CLI::ValidationError(flag, "\"" + text + "\" is no whole number");
    return *whole;
  }
  if (std::holds_alternative<double>(setting.value)) {
    double real = 0;
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), real);
    if (error != std::errc() || rest != text.data() + text.size()) throw CLI::ValidationError(flag, "\"" + text + "\" is no number");
    return real;
  }
  if (std::holds_alternative<std::vector<std::string>>(setting.value)) return CLI::detail::split(text, ',');
  return text;
}

void take(const Setting& setting, Value value, GivenSettings& given) {
  try {
    settings::check(flag_of(setting.name), value, setting.allowed, "this command");
  } catch (const Error& error) {
    throw CLI::ValidationError(error.what());
  }
  given[setting.name] = std::move(value);
}

} // namespace

std::string flag_of(const std::string& setting) {
  std::string flag = "--" + setting;
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

std::shared_ptr<GivenSettings> add_setting_flags(CLI::App& app, const std::vector<Setting>& list) {
  auto given = std::make_shared<GivenSettings>();
  for (const Setting& setting : list) {
    const std::string flag = flag_of(setting.name);
    if (const auto* on = std::get_if<bool>(&setting.value)) {
      app.add_flag_function(
          flag + ",!--no-" + flag.substr(2), [given, name = setting.name](std::int64_t count) { (*given)[name] = count > 0; },
          setting.help + (*on ? " [on]" : " [off]"));
      continue;
    }
    std::string help = setting.help;
    if (!setting.allowed.words.empty()) help += ": " + join(setting.allowed.words, ", ");
    app.add_option_function<std::string>(
           flag, [given, setting](const std::string& text) { take(setting, parsed(setting, text), *given); }, help)
        ->default_str(shown(setting.value));
  }
  return given;
}

} // namespace concord::app
