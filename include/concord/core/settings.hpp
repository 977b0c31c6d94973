#pragma once
/// Settings described beside their members: name, what is allowed, meaning, and whether they change the result. Local.
///
/// A stage owns one plain struct whose members hold the defaults, and says once what they are:
///
///   struct CorrelateSettings {
///     Index best = 16;
///     Pairing pairing = Pairing::mutual;
///     template <typename Self, typename Visit>
///     static void describe(Self& s, Visit&& setting) {
///       setting("best", s.best, settings::at_least(1), "best partners kept a feature");
///       setting("pairing", s.pairing, settings::one_of<Pairing>(), "how features are paired");
///     }
///   };
///
/// From that come the keys of a study with their defaults and ranges, the flags of the stage by itself, docs/configuration.md, and what
/// enters the digest of the stage's result. A member is a bool, an int, an Index, a double, a text, a path, a list of texts, or an
/// enum whose words WordsOf lists; a text that means a choice exists only where it is read or written.

#include "concord/core/device.hpp"
#include "concord/core/dtype.hpp"
#include "concord/core/error.hpp"
#include "concord/core/index.hpp"

#include <nlohmann/json.hpp>

#include <array>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace concord::settings {

/// A list of layers or texts keeps its elements as text.
using Value = std::variant<bool, Index, double, std::string, std::vector<std::string>>;

/// What a value may be: a number from `low` to `high`, or one of `words`; a flag or a text without words may be anything.
struct Allowed {
  double low = 0;
  double high = 0;
  bool above_low = false;  ///< low itself is not allowed
  bool below_high = false; ///< high itself is not allowed
  std::vector<std::string> words = {};
  bool is_path = false; ///< a text, or texts, that count from the study's folder where they are no absolute path
  bool anything() const { return words.empty() && low == 0 && high == 0; }
};

inline constexpr double any_size = std::numeric_limits<double>::max();
inline constexpr double largest_int = std::numeric_limits<std::int32_t>::max();
inline constexpr double largest_index = 9007199254740992.0; ///< 2^53: exact as a floating-point number, too

inline Allowed anything() {
  return {};
}
inline Allowed within(double low, double high) {
  return {.low = low, .high = high};
}
inline Allowed at_least(double low) {
  return within(low, any_size);
}
/// Above 0.
inline Allowed positive(double high = any_size) {
  return {.high = high, .above_low = true};
}
/// `low` and `high` themselves are not allowed.
inline Allowed inside(double low, double high) {
  return {.low = low, .high = high, .above_low = true, .below_high = true};
}
/// A path, a pattern, or a path with {layer}.
inline Allowed location() {
  return {.is_path = true};
}
inline Allowed words(std::vector<std::string> of) {
  return {.words = std::move(of)};
}

/// The words of an enum, in the order of their values from 0: specialise it with `static constexpr std::array<const char*, N> words`.
template <typename Choice>
struct WordsOf;

template <>
struct WordsOf<Dtype> {
  static constexpr std::array<const char*, 8> words{"f64", "f32", "f16", "bf16", "i64", "i32", "u32", "u8"};
};
template <>
struct WordsOf<Device> {
  static constexpr std::array<const char*, 5> words{"auto", "cpu", "cuda", "torch", "emulated"};
};

template <typename Choice>
Allowed one_of() {
  return words({WordsOf<Choice>::words.begin(), WordsOf<Choice>::words.end()});
}
template <typename Choice>
std::string word_of(Choice choice) {
  return WordsOf<Choice>::words.at(static_cast<std::size_t>(choice));
}
/// Some of the words alone.
template <typename Choice>
Allowed one_of(std::initializer_list<Choice> choices) {
  std::vector<std::string> some;
  for (const Choice choice : choices) some.push_back(word_of(choice));
  return words(std::move(some));
}
/// @throws Error internal for a word that is none of its, since words are checked where they are read.
template <typename Choice>
Choice choice_of(const std::string& word) {
  const auto& words = WordsOf<Choice>::words;
  for (std::size_t i = 0; i < words.size(); ++i)
    if (word == words[i]) return static_cast<Choice>(i);
  fail(ExitCode::internal, "\"{}\" is no word of this choice", word);
}

/// Whether the result of a stage hangs on a setting.
enum class Digest { counts, ignored };

/// One setting as any reader or writer of settings sees it.
struct Setting {
  std::string name;
  Value value;
  Allowed allowed;
  std::string help;
  bool in_digest = true;
  /// The words of a choice, behind its meaning.
  std::string help_with_words() const;
};

/// A path that is a member, as a value.
template <typename T>
Value to_value(const T& member) {
  if constexpr (std::is_same_v<T, bool> || std::is_same_v<T, std::string> || std::is_same_v<T, std::vector<std::string>>)
    return member;
  else if constexpr (std::is_enum_v<T>)
    return word_of(member);
  else if constexpr (std::is_integral_v<T>)
    return static_cast<Index>(member);
  else if constexpr (std::is_floating_point_v<T>)
    return static_cast<double>(member);
  else
    return member.string();
}

/// Assigns a value that is of the member's kind and was checked.
template <typename T>
void from_value(const Value& value, T& member) {
  if constexpr (std::is_same_v<T, bool> || std::is_same_v<T, std::string> || std::is_same_v<T, std::vector<std::string>>)
    member = std::get<T>(value);
  else if constexpr (std::is_enum_v<T>)
    member = choice_of<T>(std::get<std::string>(value));
  else if constexpr (std::is_integral_v<T>)
    member = static_cast<T>(std::get<Index>(value));
  else if constexpr (std::is_floating_point_v<T>)
    member = static_cast<T>(std::get<double>(value));
  else
    member = std::get<std::string>(value);
}

/// All settings of `s` with their values, in order.
template <typename Settings>
std::vector<Setting> list_of(const Settings& s) {
  std::vector<Setting> list;
  Settings::describe(s, [&](const char* name, const auto& member, Allowed allowed, const char* help, Digest digest = Digest::counts) {
    using Member = std::decay_t<decltype(member)>;
    allowed.is_path = allowed.is_path || std::is_same_v<Member, std::filesystem::path>;
    list.push_back({name, to_value(member), std::move(allowed), help, digest == Digest::counts});
  });
  return list;
}

/// Assigns value_of(name) to each member.
template <typename Settings>
void assign(Settings& s, const std::function<Value(const std::string& name)>& value_of) {
  Settings::describe(
      s, [&](const char* name, auto& member, const Allowed&, const char*, Digest = Digest::counts) { from_value(value_of(name), member); });
}

/// The settings that change the result, for its digest. Paths stay out: the digest holds their contents as inputs.
template <typename Settings>
nlohmann::json digest_of(const Settings& s) {
  nlohmann::json json = nlohmann::json::object();
  for (const auto& setting : list_of(s))
    if (setting.in_digest && !setting.allowed.is_path) std::visit([&](const auto& value) { json[setting.name] = value; }, setting.value);
  return json;
}

/// "a whole number from 1 to 2147483647" or "one of a, b".
std::string description(const Allowed& allowed, const Value& value);
/// @throws Error config naming `where`, the setting, its value and what is allowed. NaN is in no range, and no text holds a line break.
void check(const std::string& name, const Value& value, const Allowed& allowed, const std::string& where);
/// Every member of `s`, each named "table.name". @throws the same.
template <typename Settings>
void check_all(const Settings& s, const std::string& table, const std::string& where) {
  for (const auto& setting : list_of(s)) check(table + "." + setting.name, setting.value, setting.allowed, where);
}
/// Parses a text as a value of the setting's kind (no lists). @throws Error config unless the whole text is such a value.
Value parse(const Setting& setting, const std::string& text);

} // namespace concord::settings
