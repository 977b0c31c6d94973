#include "subspaces/spans/pseudo_words.hpp"

#include "concord/core/at.hpp"

#include <map>

namespace concord::subspaces {
PseudoWords pseudo_words(const comm::Communicator& comm, const PseudoInputs& in, Index most_of_word, std::uint64_t seed,
                         const comm::StopWithin& stop) {
  auto found = concepts::find_stand_ins(comm, in.tokens, in.lists, in.mine, {.seed = seed}, stop);
  PseudoWords pseudo;
  pseudo.words = std::move(found.words);
  for (const auto& word : pseudo.words) pseudo.of_concept.push_back(in.lists.phrases[at(word.phrase)].of_concept);
  std::map<std::int32_t, std::int8_t> half;
  for (const Span& span : in.spans)
    if (!span.random) half[span.phrase] = span.phrase_half;
  std::vector<Span> mine;
  for (const auto& occurrence : found.occurrences) {
    Span span;
    span.begin = occurrence.first_row;
    span.end = occurrence.end_row;
    span.document = occurrence.document;
    span.phrase = span.family = occurrence.phrase;
    span.kind = occurrence.kind;
    span.concept_number = static_cast<std::int32_t>(pseudo.of_concept[at(occurrence.phrase)]);
    mine.push_back(span);
  }
  pseudo.spans = choose_spans(comm, mine, in.contexts, {seed, static_cast<Index>(pseudo.words.size()), most_of_word});
  std::erase_if(pseudo.spans, [](const Span& span) { return span.random; });
  for (Span& span : pseudo.spans) span.phrase_half = half.at(static_cast<std::int32_t>(pseudo.words[at(span.phrase)].phrase));
  return pseudo;
}

void write_pseudo_words(io::File& file, const PseudoWords& pseudo) {
  std::vector<std::string> texts;
  std::vector<std::int32_t> phrases;
  std::vector<Index> occurrences;
  std::vector<std::int32_t> lengths;
  for (const auto& word : pseudo.words) {
    texts.push_back(word.word);
    phrases.push_back(static_cast<std::int32_t>(word.phrase));
    occurrences.push_back(word.count);
    lengths.push_back(static_cast<std::int32_t>(word.length));
  }
  if (texts.empty()) return;
  file.write_strings("/pseudo/words", texts);
  file.write("/pseudo/phrase", phrases);
  file.write("/pseudo/occurrences", occurrences);
  file.write("/pseudo/length", lengths);
}

} // namespace concord::subspaces
