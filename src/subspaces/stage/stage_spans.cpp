#include "concord/comm/agree.hpp"
#include "concord/core/at.hpp"
#include "concord/core/log.hpp"
#include "concord/core/run/stopwatch.hpp"
#include "concord/core/text.hpp"

#include "subspaces/stage/stage.hpp"

namespace concord::subspaces {
void Stage::find_spans() {
  const Stopwatch watch(seconds_.occurrences);
  const auto occurrences = concepts::find_occurrences(comm_, options_.tokens, lists_, stop_);
  counts_ = concepts::count_occurrences(comm_, lists_, occurrences);
  together_ = words_together(comm_, occurrences, lists_, contexts_.offsets, settings_.window);
  spans_ = choose_spans(comm_, spans_of(occurrences), {contexts_.offsets, contexts_.document},
                        {options_.seed, static_cast<Index>(lists_.phrases.size()), settings_.phrase_occurrences});
  dealt_ = dealt_counts(spans_, extent_.concepts, options_.seed);
  defined_ = concept_spans(spans_, static_cast<int>(lists_.concepts.size()), settings_);
  effect_spans_ = effect_spans(spans_, settings_.effect_occurrences, options_.seed);
  std::erase_if(effect_spans_, [&](std::int32_t number) { return !defined_[at(spans_[at(number)].concept_number)].defined; });
  if (extent_.strengths > 0) first_tokens_ = concept_tokens(comm_, *tokens_, spans_, extent_.concepts);
  if (extent_.pseudo)
    pseudo_ = pseudo_words(comm_, {options_.tokens, lists_, occurrences, spans_, {contexts_.offsets, contexts_.document}},
                           settings_.phrase_occurrences, options_.seed, stop_);
  say_what_is_missing();
  comm::agree(comm_, [&] {
    require(
        defined_count() > 0, ExitCode::bad_data,
        "no concept of {} has the {} occurrences and {} phrases that are asked for (subspaces.min_occurrences, min_phrases); the corpus "
        "holds {} occurrences of all",
        settings_.concepts.string(), settings_.min_occurrences, settings_.min_phrases, counts_.total);
  });
}

std::vector<Span> Stage::spans_of(const std::vector<concepts::Occurrence>& occurrences) const {
  const auto families = phrase_families(lists_);
  std::vector<Span> spans;
  spans.reserve(occurrences.size());
  for (const auto& occurrence : occurrences) {
    Span span;
    span.begin = occurrence.first_row;
    span.end = occurrence.end_row;
    span.document = occurrence.document;
    span.phrase = occurrence.phrase;
    span.family = families[at(occurrence.phrase)];
    span.kind = occurrence.kind;
    span.concept_number = static_cast<std::int32_t>(lists_.phrases[at(occurrence.phrase)].of_concept);
    spans.push_back(span);
  }
  return spans;
}

void Stage::say_what_is_missing() const {
  const auto never = concepts::never_occurring(counts_);
  std::vector<std::string> some;
  for (std::size_t i = 0; i < std::min<std::size_t>(never.size(), 10); ++i) some.push_back(lists_.phrases[at(never[i])].text);
  if (!never.empty())
    log_info("subspaces: {} of {} phrases never occur ({}{})", never.size(), lists_.phrases.size(), join(some, ", "),
             never.size() > some.size() ? ", ..." : "");
  for (std::size_t c = 0; c < defined_.size(); ++c)
    if (!defined_[c].defined)
      log_warn("subspaces: {} is left undefined: {} occurrences of {} phrases", lists_.concepts[c].name, defined_[c].occurrences,
               defined_[c].phrases);
  for (const auto& shared : lists_.shared)
    if (shared.kept_by < 0) log_info("subspaces: \"{}\" stands in several concepts and is left out of all", shared.text);
  if (extent_.pseudo)
    log_info("subspaces: {} of {} phrases that occur have a word of no concept that stands in for them, alike in frequency and length",
             pseudo_.words.size(), lists_.phrases.size() - never.size());
}

} // namespace concord::subspaces
