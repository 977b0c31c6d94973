#include "concord/core/settings.hpp"

#include "concord/core/text.hpp"

#include <algorithm>
#include <charconv>

namespace concord::settings {
namespace {

/// NaN is in no range.
bool holds(const Allowed& range, double value) {
  return (range.above_low ? value > range.low : value >= range.low) && (range.below_high ? value < range.high : value <= range.high);
}

std::string number(double value) {
  return value == any_size ? "any size" : fmt::format("{:.16g}", value);
}

void check_word(const std::string& name, const std::string& word, const Allowed& range, const std::string& where) {
  if (range.words.empty() || std::find(range.words.begin(), range.words.end(), word) != range.words.end()) return;
  const auto near = nearest(word, range.words);
  fail(ExitCode::config, "{}: {} = \"{}\" must be {}{}", where, name, word, description(range, word),
       near ? "; did you mean \"" + *near + "\"?" : std::string());
}

/// A line break in a name would end up in job names, file names and the report.
void check_text(const std::string& name, const std::string& text, const std::string& where) {
  const bool plain = std::none_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
  require(plain, ExitCode::config, "{}: {} holds a line break or another control character", where, name);
}

template <typename Number>
void check_number(const std::string& name, Number value, const Allowed& range, const std::string& where) {
  if (range.anything()) return;
  require(holds(range, static_cast<double>(value)), ExitCode::config, "{}: {} = {} must be {}", where, name, value,
          description(range, value));
}

} // namespace

std::string Setting::help_with_words() const {
  return allowed.words.empty() ? help : help + " (" + join(allowed.words, ", ") + ")";
}

Value parse(const Setting& setting, const std::string& text) {
  if (std::holds_alternative<bool>(setting.value)) {
    require(text == "true" || text == "false", ExitCode::config, "\"{}\" is not true or false", text);
    return text == "true";
  }
  if (std::holds_alternative<Index>(setting.value)) {
    const auto whole = whole_number(text);
    require(whole.has_value(), ExitCode::config, "\"{}\" is no whole number", text);
    return *whole;
  }
  if (std::holds_alternative<double>(setting.value)) {
    double real = 0;
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), real);
    require(error == std::errc() && rest == text.data() + text.size(), ExitCode::config, "\"{}\" is no number", text);
    return real;
  }
  return text;
}

std::string description(const Allowed& range, const Value& value) {
  if (!range.words.empty()) return "one of " + join(range.words, ", ");
  const char* kind = std::holds_alternative<Index>(value) ? "a whole number" : "a number";
  const std::string low = fmt::format("{} {}", range.above_low ? "above" : "from", number(range.low));
  if (range.high == any_size) return fmt::format("{} {}{}", kind, low, range.above_low ? "" : " on");
  return fmt::format("{} {} {} {}", kind, low, range.below_high ? "and below" : "to", number(range.high));
}

void check(const std::string& name, const Value& value, const Allowed& range, const std::string& where) {
  const auto check_one = [&](const std::string& text) {
    check_text(name, text, where);
    check_word(name, text, range, where);
  };
  if (const auto* text = std::get_if<std::string>(&value)) check_one(*text);
  if (const auto* texts = std::get_if<std::vector<std::string>>(&value)) std::for_each(texts->begin(), texts->end(), check_one);
  if (const auto* whole = std::get_if<Index>(&value)) check_number(name, *whole, range, where);
  if (const auto* real = std::get_if<double>(&value)) check_number(name, *real, range, where);
}

} // namespace concord::settings
