#pragma once
/// Settings of stage `subspaces`. Local.

#include "concord/core/settings.hpp"

#include <array>
#include <filesystem>

namespace concord::subspaces {

/// What a feature is worth on a span of several tokens.
enum class SpanValue { max, mean, sum, last };
/// Which row of the residual stream stands for a span.
enum class SpanRow { last, mean };
/// Which features belong to a concept: those whose span values rank its spans above others, or those with a keyword among their five
/// strongest tokens (the published rule).
enum class Rule { auc, paper };

struct SubspacesSettings {
  std::filesystem::path concepts;
  std::filesystem::path similarity;
  bool fold_case = true;
  SpanValue value = SpanValue::max;
  SpanRow row = SpanRow::last;
  Rule rule = Rule::auc;
  double min_auc = 0.75;
  double max_q = 0.05;
  double min_coverage = 0.1;
  Index label_draws = 20;
  Index min_occurrences = 30;
  Index min_phrases = 8;
  Index max_occurrences = 2000;
  Index max_members = 32;
  Index k = 5;
  std::vector<std::string> layers_a{"all"};
  std::vector<std::string> layers_b{"all"};
  Index permutations = 9999;

  template <typename Self, typename Visit>
  static void describe(Self& s, Visit&& setting) {
    using settings::anything;
    using settings::within;
    setting(
        "concepts", s.concepts, anything(),
        "concept lists: a .tsv with the columns group, concept, phrase, weight, or a folder of .txt lists; empty: the stage is left out");
    setting("similarity", s.similarity, anything(),
            "how alike concepts are in meaning: a .tsv with the columns concept, concept, one a measure; empty: not compared with meaning");
    setting("fold_case", s.fold_case, anything(), "find phrases in capitals, too");
    setting("value", s.value, settings::one_of<SpanValue>(), "what a feature is worth on a span of several tokens");
    setting("row", s.row, settings::one_of<SpanRow>(), "which row of the residual stream stands for a span");
    setting("rule", s.rule, settings::one_of<Rule>(),
            "which features belong to a concept: by the AUC of their span values, or the published rule (paper)");
    setting("min_auc", s.min_auc, within(0.5, 1), "of members, against spans of other concepts and against random spans");
    setting("max_q", s.max_q, settings::positive(1), "false discovery rate of members, over the features of a layer");
    setting("label_draws", s.label_draws, within(1, settings::largest_int),
            "times that phrases are dealt out anew to the concepts, to see how many members chance finds");
    setting("min_coverage", s.min_coverage, within(0, 1), "share of a concept's phrases on which a member is active");
    setting("min_occurrences", s.min_occurrences, within(4, settings::largest_int), "fewer leave a concept undefined");
    setting("min_phrases", s.min_phrases, within(2, settings::largest_int), "phrases that occur; fewer leave a concept undefined");
    setting("max_occurrences", s.max_occurrences, within(4, settings::largest_int), "of a concept; more are drawn at random");
    setting("max_members", s.max_members, within(1, settings::largest_int), "features of a concept, the best together");
    setting("k", s.k, within(1, settings::largest_int), "dimensions of every subspace");
    setting("layers_a", s.layers_a, anything(), "\"all\" layers of A's features, or a list");
    setting("layers_b", s.layers_b, anything(), "the same of B");
    setting("permutations", s.permutations, within(1, settings::largest_int), "of concept labels; p is at least 1 / (permutations + 1)");
  }
};

} // namespace concord::subspaces

namespace concord::settings {
template <>
struct WordsOf<subspaces::SpanValue> {
  static constexpr std::array<const char*, 4> words{"max", "mean", "sum", "last"};
};
template <>
struct WordsOf<subspaces::SpanRow> {
  static constexpr std::array<const char*, 2> words{"last", "mean"};
};
template <>
struct WordsOf<subspaces::Rule> {
  static constexpr std::array<const char*, 2> words{"auc", "paper"};
};
} // namespace concord::settings
