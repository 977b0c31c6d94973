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
  std::vector<std::string> meaning{"lin"};
  bool fold_case = true;
  SpanValue value = SpanValue::max;
  SpanRow row = SpanRow::last;
  bool residual = true;
  std::vector<std::string> further_bases;
  double max_norm = 10;
  Rule rule = Rule::auc;
  double min_auc = 0.75;
  double max_q = 0.05;
  double min_coverage = 0.1;
  Index label_draws = 20;
  Index min_occurrences = 30;
  Index min_phrases = 8;
  Index phrase_occurrences = 20;
  Index max_members = 32;
  Index k = 5;
  std::vector<std::string> layers_a{"all"};
  std::vector<std::string> layers_b{"all"};
  Index shuffles = 199;
  Index window = 64;
  bool effects = true;
  std::vector<std::string> effect_bases{"sae", "residual", "random", "matched", "dealt"};
  std::vector<std::string> effect_layers_a{"all"};
  std::vector<std::string> effect_layers_b{"all"};
  Index effect_occurrences = 8;
  Index after = 4;
  std::vector<std::string> removals{"mean"};
  bool equal_energy = false;
  std::vector<std::string> steering;
  Index permutations = 9999;
  bool carry = false;
  Index map_rows = 200000;
  Index level_draws = 200;
  Index resamples = 400;

  template <typename Self, typename Visit>
  static void describe(Self& s, Visit&& setting) {
    describe_spaces(s, setting);
    describe_effects(s, setting);
  }

private:
  template <typename Self, typename Visit>
  static void describe_spaces(Self& s, Visit& setting) {
    using settings::Allowed;
    using settings::anything;
    using settings::within;
    setting(
        "concepts", s.concepts, anything(),
        "concept lists: a .tsv with the columns group, concept, phrase, weight, or a folder of .txt lists; empty: the stage is left out");
    setting(
        "similarity", s.similarity, anything(),
        "how alike concepts are in meaning: a .tsv with the columns concept, other, and one a measure; empty: not compared with meaning");
    setting("meaning", s.meaning, anything(), "which of its measures effects are held against");
    setting("fold_case", s.fold_case, anything(), "find phrases in capitals, too");
    setting("value", s.value, settings::one_of<SpanValue>(), "what a feature is worth on a span of several tokens");
    setting("row", s.row, settings::one_of<SpanRow>(), "which row of the residual stream stands for a span");
    setting("residual", s.residual, anything(), "also look at subspaces of the residual stream without features; needs activations.h5");
    setting("further_bases", s.further_bases, Allowed{0, 0, false, false, {"means", "lda", "leace", "pseudo"}},
            "subspaces beside those of residual, removed where effects are measured: difference of means, LDA, LEACE, and as a control "
            "words of no concept alike in frequency and length; needs residual");
    setting(
        "max_norm", s.max_norm, settings::at_least(0),
        "spans with a row longer than this many median norms (attention sinks) are left out of phrases' means and of removals; 0: none");
    setting("rule", s.rule, settings::one_of<Rule>(),
            "which features belong to a concept: those whose span values rank its spans above others, or the published rule");
    setting("min_auc", s.min_auc, within(0.5, 1), "of members, against spans of other concepts and against random spans");
    setting("max_q", s.max_q, settings::positive(1), "false discovery rate of members, over the features of a layer");
    setting("label_draws", s.label_draws, within(1, settings::largest_int),
            "times that phrases are dealt out anew to the concepts, to see how many members chance finds");
    setting("min_coverage", s.min_coverage, within(0, 1), "share of a concept's phrases on which a member is active");
    setting("min_occurrences", s.min_occurrences, within(4, settings::largest_int), "fewer leave a concept undefined");
    setting("min_phrases", s.min_phrases, within(2, settings::largest_int), "phrases that occur; fewer leave a concept undefined");
    setting("phrase_occurrences", s.phrase_occurrences, within(1, settings::largest_int),
            "of a phrase that are looked at; more are drawn at random, so that no frequent word is the concept");
    setting("max_members", s.max_members, within(1, settings::largest_int), "features of a concept, the best together");
    setting("k", s.k, within(1, settings::largest_int), "dimensions of every subspace");
    setting("layers_a", s.layers_a, anything(), "\"all\" layers of A's features, or a list");
    setting("layers_b", s.layers_b, anything(), "the same of B");
    setting("shuffles", s.shuffles, within(1, settings::largest_int),
            "random pairings that scores of paired features and phrases are held against");
    setting("window", s.window, within(1, settings::largest_int), "tokens in which words of two concepts occur together");
  }

  template <typename Self, typename Visit>
  static void describe_effects(Self& s, Visit& setting) {
    using settings::Allowed;
    using settings::anything;
    using settings::within;
    setting("effects", s.effects, anything(), "also measure what the removal of a concept's subspace does to the predictions");
    setting("effect_bases", s.effect_bases, Allowed{0, 0, false, false, {"sae", "residual", "random", "matched", "dealt"}},
            "subspaces that are removed, the last three as controls");
    setting("effect_layers_a", s.effect_layers_a, anything(), "layers of A, of those above, behind which subspaces are removed");
    setting("effect_layers_b", s.effect_layers_b, anything(), "the same of B");
    setting("effect_occurrences", s.effect_occurrences, within(1, settings::largest_int),
            "of a concept, of each kind of span and on each half of the documents, at which subspaces are removed");
    setting("after", s.after, within(0, 4096), "rows behind the span whose predictions are looked at");
    setting("removals", s.removals, Allowed{0, 0, false, false, {"mean", "resample"}},
            "what stands in the place of what is removed: the mean of all phrases, or a span of another concept");
    setting("equal_energy", s.equal_energy, anything(),
            "also remove, beside sae and residual, sets of words of other concepts that take as much energy at the spans at hand, as a "
            "control; needs residual");
    setting(
        "steering", s.steering, anything(),
        "strengths s, such as [0.5, 1, 2], at which a concept's first direction is added, 1 being as much as its own words hold; none: not "
        "measured");
    setting("permutations", s.permutations, within(1, settings::largest_int), "of concept labels; p is at least 1 / (permutations + 1)");
    setting("carry", s.carry, anything(),
            "also carry subspaces from each model into the other by a linear map, and remove them there; needs effects and residual");
    setting("map_rows", s.map_rows, within(2, settings::largest_int), "of each half of the documents, at most, that the map is made of");
    setting("level_draws", s.level_draws, within(0, settings::largest_int),
            "of the null made from the data, on which the headline's own test is tried; 0: it is not");
    setting("resamples", s.resamples, within(0, settings::largest_int),
            "of the documents, for intervals of the headline's r and ratio; 0: none");
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
