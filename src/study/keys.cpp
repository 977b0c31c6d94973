#include "concord/core/text.hpp"
#include "concord/corpus/settings.hpp"
#include "concord/correlate/settings.hpp"
#include "concord/extract/settings.hpp"
#include "concord/features/settings.hpp"
#include "concord/sae/settings.hpp"
#include "concord/similarity/settings.hpp"
#include "concord/study/settings.hpp"
#include "concord/study/study.hpp"
#include "concord/subspaces/settings.hpp"

#include <fmt/format.h>

namespace concord::study {
namespace {

using Texts = std::vector<std::string>;

/// The keys of the tables, in the order of the stages.
class Tables {
public:
  template <typename Settings>
  Tables& add(const std::string& table) {
    for (auto& setting : settings::list_of(Settings())) {
      setting.name = table + "." + setting.name;
      keys_.push_back(std::move(setting));
    }
    return *this;
  }
  std::vector<Setting> keys() { return std::move(keys_); }

private:
  std::vector<Setting> keys_;
};

std::vector<Setting> all_keys() {
  return Tables()
      .add<StudySettings>("study")
      .add<corpus::CorpusSettings>("corpus")
      .add<ModelSettings>("model.NAME")
      .add<extract::ExtractSettings>("extract")
      .add<sae::TrainSettings>("sae")
      .add<sae::TrainingsSettings>("sae")
      .add<features::EncodeSettings>("encode")
      .add<SkylineSettings>("skyline")
      .add<correlate::CorrelateSettings>("correlate")
      .add<similarity::CompareSettings>("compare")
      .add<subspaces::SubspacesSettings>("subspaces")
      .add<ReportSettings>("report")
      .keys();
}

std::string shown(const Value& value) {
  return std::visit(
      [](const auto& v) -> std::string {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, bool>)
          return v ? "true" : "false";
        else if constexpr (std::is_same_v<T, std::string>)
          return "\"" + v + "\"";
        else if constexpr (std::is_same_v<T, Texts>)
          return v.empty() ? "[]" : v.size() == 1 ? "\"" + v[0] + "\"" : "[\"" + join(v, "\", \"") + "\"]";
        else
          return fmt::format("{}", v);
      },
      value);
}

} // namespace

const std::map<std::string, Value>& paper_defaults() {
  static const std::map<std::string, Value> values{
      {"encode.keep_special", true},
      {"encode.max_norm", 0.0},
      {"correlate.pairing", std::string("paper")},
      {"correlate.min_r", 0.1},
      {"correlate.max_q", 1.0}, // a fixed cut alone
      {"correlate.min_firings", Index{1}},
      {"correlate.drop_non_concept", true},
      {"correlate.need_shared_token", true},
      {"compare.svcca_k", Index{1}}, // what the published code comes down to
      {"compare.measures", Texts{"svcca", "svcca_rank1", "rsa"}},
      {"compare.permutations", Index{100}},
      {"compare.stratified_permutations", Index{0}},
      {"compare.subsets", Index{100}},
  };
  return values;
}

const std::vector<Setting>& keys() {
  static const std::vector<Setting> table = all_keys();
  return table;
}

std::string keys_as_markdown() {
  std::string text;
  std::string table;
  for (const auto& key : keys()) {
    const std::size_t dot = key.name.rfind('.');
    if (key.name.substr(0, dot) != table) {
      table = key.name.substr(0, dot);
      text += fmt::format("\n## [{}]\n\n| key | default | meaning |\n|---|---|---|\n", table);
    }
    text += fmt::format("| `{}` | `{}` | {} |\n", key.name.substr(dot + 1), shown(key.value), key.help_with_words());
  }
  return text;
}

} // namespace concord::study
