#include "app/command/setting_flags.hpp"

#include "concord/core/text.hpp"

#include <algorithm>

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

/// @param value_of reads what was given
void take(const Setting& setting, GivenSettings& given, const std::function<Value()>& value_of) {
  const std::string flag = flag_of(setting.name);
  try {
    Value value = value_of();
    settings::check(flag, value, setting.allowed, "this command");
    given[setting.name] = std::move(value);
  } catch (const Error& error) {
    const std::string what = error.what();
    throw CLI::ValidationError(what.find(flag) == std::string::npos ? flag + ": " + what : what);
  }
}

CLI::Option* add_flag(CLI::App& app, const Setting& setting, const std::string& flag, const std::shared_ptr<GivenSettings>& given) {
  if (std::holds_alternative<std::vector<std::string>>(setting.value))
    return app
        .add_option_function<std::vector<std::string>>(
            flag, [given, setting](const std::vector<std::string>& texts) { take(setting, *given, [&] { return texts; }); },
            setting.help_with_words())
        ->delimiter(',');
  return app.add_option_function<std::string>(
      flag, [given, setting](const std::string& text) { take(setting, *given, [&] { return settings::parse(setting, text); }); },
      setting.help_with_words());
}

} // namespace

std::string flag_of(const std::string& setting) {
  std::string flag = "--" + setting;
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

std::shared_ptr<GivenSettings> add_setting_flags(CLI::App& app, const std::vector<Setting>& list, const FlagNames& names) {
  auto given = std::make_shared<GivenSettings>();
  for (const Setting& setting : list) {
    if (names.without.contains(setting.name)) continue;
    const auto also = names.also.find(setting.name);
    const std::string flag = flag_of(setting.name) + (also == names.also.end() ? "" : "," + also->second);
    if (const auto* on = std::get_if<bool>(&setting.value)) {
      app.add_flag_function(
          flag + ",!--no-" + flag_of(setting.name).substr(2),
          [given, name = setting.name](std::int64_t count) { (*given)[name] = count > 0; }, setting.help + (*on ? " [on]" : " [off]"));
      continue;
    }
    add_flag(app, setting, flag, given)->default_str(shown(setting.value));
  }
  return given;
}

} // namespace concord::app
