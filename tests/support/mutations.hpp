#pragma once
// Configs of other people's formats, changed key by key, against what the format's own libraries make of each change: the files of
// tests/golden/mutations, which make_mutation_golden.py describes.

#include "concord/core/text.hpp"

#include <nlohmann/json.hpp>

#include "support/support.hpp"
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <set>

namespace concord::test {

inline std::filesystem::path golden_folder() {
  const char* source = std::getenv("CONCORD_SOURCE");
  require(source != nullptr, ExitCode::input_missing, "CONCORD_SOURCE is not set; run the test through ctest");
  return std::filesystem::path(source) / "tests" / "golden";
}

/// What a format's reader may do otherwise than its library, each only as docs/formats.md says.
struct Leave {
  std::set<std::string> refused; ///< keys with values that the library follows and the reader refuses by name
  std::set<std::string> labels;  ///< keys that cannot change the answer: the library may refuse what the reader does not look at
};

/// Makes an answer of the config, or throws Error.
using Answer = std::function<std::vector<double>(const std::string& weights, const nlohmann::json& cfg)>;

class Mutations {
public:
  Mutations(const std::string& format, Leave leave, Answer answer)
      : configs_(nlohmann::json::parse(read_text(golden_folder() / "mutations" / (format + ".json"), "golden file"))["configs"]),
        leave_(std::move(leave)), answer_(std::move(answer)) {}

  /// Every case of every config: the reader gives the answer that all libraries which read it give, or refuses and names the key.
  void check() {
    for (const auto& [name, config] : configs_.items()) {
      const auto found = answer_(config["weights"], config["cfg"]);
      expect(same(found, config["answers"][0]), name + " unchanged", "another answer than the library's");
      followed_ = 0;
      std::set<int> kinds;
      for (const auto& mutation : config["cases"]) check(name, config, mutation, kinds);
      EXPECT_GT(followed_, 10) << name; // a reader that refuses everything proves nothing
      EXPECT_TRUE(config["answers"].size() <= 2 || kinds.size() > 1) << name << ": no change of an answer was followed";
    }
    EXPECT_EQ(wrong_.size(), 0U) << fmt::format(
        "{} cases, the first:\n{}", wrong_.size(),
        fmt::join(wrong_.begin(), wrong_.begin() + std::min<long>(60, static_cast<long>(wrong_.size())), "\n"));
  }

private:
  using json = nlohmann::json;

  static json changed(json cfg, const json& mutation) {
    for (const auto& pointer : mutation.value("remove", json::array())) {
      const json::json_pointer at(pointer.get<std::string>());
      cfg[at.parent_pointer()].erase(at.back());
    }
    const json set = mutation.value("set", json::object());
    for (const auto& [pointer, value] : set.items()) cfg[json::json_pointer(pointer)] = value;
    return cfg;
  }

  /// To the rounding of f32, by the largest number of the answer.
  static bool same(const std::vector<double>& got, const json& want) {
    if (got.size() != want.size()) return false;
    double largest = 1;
    for (const auto& number : want) largest = std::max(largest, std::abs(number.get<double>()));
    for (std::size_t i = 0; i < got.size(); ++i)
      if (std::abs(got[i] - want[i].get<double>()) > 1e-5 * largest) return false;
    return true;
  }

  /// transformers 5 refuses 1 for 1.0 where other versions take it: nothing to follow.
  static bool of_strict_types(const json& cfg, const json& mutation) {
    const json set = mutation.value("set", json::object());
    return std::ranges::any_of(mutation["got"], [](const json& got) { return got == "StrictDataclassFieldValidationError"; }) &&
           std::ranges::all_of(set.items(), [&](const auto& item) {
             const json::json_pointer at(item.key());
             return cfg.contains(at) && (cfg[at].is_number() || cfg[at].is_null()) && item.value().is_number();
           });
  }

  /// Last words of the changed pointers.
  static std::vector<std::string> keys_of(const json& mutation) {
    std::vector<std::string> keys;
    for (const auto& pointer : mutation.value("remove", json::array()))
      keys.push_back(json::json_pointer(pointer.get<std::string>()).back());
    const json set = mutation.value("set", json::object());
    for (const auto& [pointer, value] : set.items()) keys.push_back(json::json_pointer(pointer).back());
    return keys;
  }

  void check(const std::string& name, const json& config, const json& mutation, std::set<int>& kinds) {
    std::set<int> answers; // of the libraries that do not refuse
    for (const auto& got : mutation["got"])
      if (got.is_number()) answers.insert(got.get<int>());
    const auto keys = keys_of(mutation);
    if (of_strict_types(config["cfg"], mutation)) return;
    const auto about = [&](const std::set<std::string>& some) {
      return std::ranges::any_of(keys, [&](const std::string& key) { return some.contains(key); });
    };
    const std::string where = name + " " + mutation.dump();
    try {
      const auto found = answer_(config["weights"], changed(config["cfg"], mutation));
      if (answers.empty())
        expect(about(leave_.labels) && same(found, config["answers"][0]), where, "accepted, the library refuses it");
      else
        expect(answers.size() == 1 && same(found, config["answers"][static_cast<std::size_t>(*answers.begin())]), where,
               answers.size() > 1 ? "accepted, the libraries differ" : "another answer than the library's");
      ++followed_;
      if (answers.size() == 1) kinds.insert(*answers.begin());
    } catch (const Error& error) {
      const std::string message = error.what();
      expect(error.code() == ExitCode::bad_data, where, "another exit code: " + message);
      expect(std::ranges::any_of(keys, [&](const std::string& key) { return message.find(key) != std::string::npos; }), where,
             "the message names no changed key: " + message);
      const bool follows =
          answers.size() == 1 &&
          mutation["got"].size() ==
              static_cast<std::size_t>(std::ranges::count_if(mutation["got"], [](const json& got) { return got.is_number(); }));
      const bool unknown = message.find("does not know the key") != std::string::npos || message.find("wrong type") != std::string::npos;
      expect(!follows || unknown || about(leave_.refused) || of_another_type(config["cfg"], mutation), where,
             "refused, the library follows it: " + message);
    }
  }

  /// Libraries take 1 for true and many things for nothing; a reader may insist on the type.
  static bool of_another_type(const json& cfg, const json& mutation) {
    const json set = mutation.value("set", json::object());
    for (const auto& [pointer, value] : set.items()) {
      const json::json_pointer at(pointer);
      if (!cfg.contains(at)) continue;
      const json& was = cfg[at];
      if (value.is_null() || (value.type() != was.type() && !(value.is_number() && was.is_number()))) return true;
      if (value.is_number_float() && was.is_number_integer()) return true;
    }
    return false;
  }

  void expect(bool right, const std::string& where, const std::string& what) {
    if (!right) wrong_.push_back(where + ": " + what);
  }

  json configs_;
  Leave leave_;
  Answer answer_;
  int followed_ = 0;
  std::vector<std::string> wrong_;
};

} // namespace concord::test
