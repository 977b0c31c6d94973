#include "concord/corpus/settings.hpp"
#include "concord/correlate/settings.hpp"
#include "concord/extract/settings.hpp"
#include "concord/features/settings.hpp"
#include "concord/sae/settings.hpp"
#include "concord/similarity/settings.hpp"
#include "concord/subspaces/settings.hpp"

#include <gtest/gtest.h>

#include "app/command/setting_flags.hpp"

namespace concord::app {
namespace {

using settings::Setting;
using settings::Value;

/// Another value that a setting may have, and how a flag says it.
std::pair<Value, std::string> other_value(const Setting& setting) {
  const auto& allowed = setting.allowed;
  if (const auto* whole = std::get_if<Index>(&setting.value)) {
    const Index other = static_cast<double>(*whole) + 1 > allowed.high && !allowed.anything() ? *whole - 1 : *whole + 1;
    return {other, std::to_string(other)};
  }
  if (const auto* real = std::get_if<double>(&setting.value)) {
    const double other = allowed.anything() ? *real + 1 : (*real + std::min(allowed.high, 2.0)) / 2;
    return {other, fmt::format("{}", other)};
  }
  if (std::holds_alternative<std::vector<std::string>>(setting.value)) {
    const std::vector<std::string> words =
        allowed.words.empty() ? std::vector<std::string>{"x", "y"} : std::vector<std::string>{allowed.words[1], allowed.words[0]};
    return {words, words[0] + "," + words[1]};
  }
  const std::string word = allowed.words.empty() ? "x" : allowed.words[allowed.words[0] == std::get<std::string>(setting.value) ? 1 : 0];
  return {word, word};
}

template <typename Settings>
class SettingFlags : public testing::Test {
protected:
  /// The settings that these flags give.
  static Settings parsed(std::vector<std::string> flags) {
    CLI::App app;
    const Settings defaults;
    const auto given = add_setting_flags(app, settings::list_of(defaults));
    std::reverse(flags.begin(), flags.end()); // as CLI11 takes them
    app.parse(flags);
    Settings s;
    assign_given(s, *given);
    return s;
  }
  static Value value_of(const Settings& s, const std::string& name) {
    for (const auto& setting : settings::list_of(s))
      if (setting.name == name) return setting.value;
    return false;
  }
};

using Stages = testing::Types<corpus::CorpusSettings, extract::ExtractSettings, sae::TrainSettings, features::EncodeSettings,
                              correlate::CorrelateSettings, similarity::CompareSettings, subspaces::SubspacesSettings>;
TYPED_TEST_SUITE(SettingFlags, Stages);

TYPED_TEST(SettingFlags, ReachEverySettingAndNoOther) {
  const TypeParam defaults;
  for (const auto& setting : settings::list_of(defaults)) {
    SCOPED_TRACE(setting.name);
    const auto* on = std::get_if<bool>(&setting.value);
    const std::string flag = on != nullptr && *on ? "--no-" + flag_of(setting.name).substr(2) : flag_of(setting.name);
    const auto [value, text] = on != nullptr ? std::pair{Value(!*on), std::string()} : other_value(setting);
    const auto s = this->parsed(on != nullptr ? std::vector{flag} : std::vector{flag, text});
    for (const auto& other : settings::list_of(defaults))
      EXPECT_EQ(this->value_of(s, other.name), other.name == setting.name ? value : other.value) << other.name;
  }
}

TYPED_TEST(SettingFlags, TakeNothingBeyondTheirRange) {
  const TypeParam defaults;
  for (const auto& setting : settings::list_of(defaults)) {
    SCOPED_TRACE(setting.name);
    const auto refused = [&](const std::string& text) {
      EXPECT_THROW(this->parsed({flag_of(setting.name), text}), CLI::ValidationError) << text;
    };
    const bool whole = std::holds_alternative<Index>(setting.value);
    if (whole || std::holds_alternative<double>(setting.value)) {
      for (const char* text : {"x", "", "nan", "1x"}) refused(text);
      if (whole) refused("1e5");
      if (setting.allowed.low >= 0) refused(whole ? "-1" : "-0.5");
      if (setting.allowed.high < 1e15 && !setting.allowed.anything())
        refused(whole ? std::to_string(static_cast<Index>(setting.allowed.high) + 1) : fmt::format("{}", setting.allowed.high + 1));
    }
    if (!setting.allowed.words.empty()) refused("no such word");
  }
}

TEST(SettingFlag, HasASecondNameWhereItIsGivenOne) {
  CLI::App app;
  const sae::TrainSettings defaults;
  const auto given = add_setting_flags(app, settings::list_of(defaults), {.also = {{"latents", "--d-sae"}}, .without = {"clip"}});
  app.parse(std::vector<std::string>{"77", "--d-sae"});
  EXPECT_EQ(std::get<Index>(given->at("latents")), 77);
  EXPECT_THROW(app.parse(std::vector<std::string>{"2", "--clip"}), CLI::ExtrasError);
}

} // namespace
} // namespace concord::app
