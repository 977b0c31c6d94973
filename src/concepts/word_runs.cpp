#include "concepts/word_runs.hpp"

#include <algorithm>

namespace concord::concepts {
namespace {

/// The words of a folded text, one after the other.
class Words {
public:
  Words(const FoldedText& folded, std::size_t at) : folded_(folded), at_(at) {}
  /// The next word that begins before `stop`.
  bool next(std::size_t stop, WordRun::Word& word) {
    while (at_ < stop && !folded_.is(at_, word_character)) ++at_;
    if (at_ >= stop) return false;
    word.begin = at_;
    while (in_word(at_)) ++at_;
    word.end = at_;
    return true;
  }

private:
  bool letter(std::size_t i) const { return i < folded_.bytes.size() && folded_.is(i, word_character); }
  bool in_word(std::size_t i) const {
    if (letter(i)) return true;
    return i < folded_.bytes.size() && (folded_.bytes[i] == '\'' || folded_.bytes[i] == '-') && letter(i + 1);
  }
  const FoldedText& folded_;
  std::size_t at_;
};

/// Whether a word lies in the context and all of its characters are known.
bool is_whole(const ContextText& context, const FoldedText& folded, const WordRun::Word& word) {
  const auto begin = static_cast<Index>(folded.origin[word.begin]);
  const auto end = static_cast<Index>(end_of_character(context.text, folded.origin[word.end - 1]));
  return begin >= context.begin && end <= context.end && folded.bytes.find('\xFF', word.begin) >= word.end;
}

/// Whether a word follows another with nothing but white space between them that is no gap.
bool follows(const FoldedText& folded, const WordRun::Word& before, const WordRun::Word& word) {
  if (word.begin != before.end + 1 || folded.bytes[before.end] != ' ') return false;
  return !folded.is(before.end, line_break) || !folded.is(word.begin, upper_case);
}

} // namespace

void each_run(const ContextText& context, bool fold_case, const std::function<void(const WordRun&)>& visit) {
  FoldedText folded;
  fold(context.text, fold_case, folded);
  const std::size_t stop = folded.from(static_cast<std::size_t>(context.end));
  // From the word that may reach into the context on.
  std::size_t from = folded.from(static_cast<std::size_t>(context.begin));
  while (from > 0 && folded.bytes[from - 1] != ' ' && folded.bytes[from - 1] != '\n') --from;
  Words words(folded, from);
  WordRun run(folded.bytes);
  WordRun::Word before, word;
  const auto close = [&] {
    if (run.size() > 0) visit(run);
    run.clear();
  };
  while (words.next(stop, word)) {
    const bool whole = is_whole(context, folded, word);
    if (!whole || (run.size() > 0 && !follows(folded, before, word))) close();
    if (whole) run.add(word);
    before = word;
  }
  close();
}

Candidates::Candidates(const ConceptLists& lists, const MiningOptions& options)
    : fold_case_(lists.fold_case), of_(folded_phrase(options.of, lists.fold_case)), the_(folded_phrase(options.the, lists.fold_case)) {
  for (const auto& phrase : lists.phrases) {
    std::string key = folded_phrase(phrase.text, lists.fold_case);
    if (key.find(' ') == std::string::npos) heads_.emplace(key, phrase.of_concept);
    known_.insert(std::move(key));
  }
  for (const auto& phrase : lists.silent) known_.insert(folded_phrase(phrase, lists.fold_case));
  for (const auto& word : options.function_words) function_words_.insert(folded_phrase(word, true)); // at the head of a sentence, too
}

void Candidates::each(const WordRun& run, const std::function<void(std::string_view phrase, Index of_concept)>& visit) const {
  for (Index i = 0; i < run.size(); ++i) {
    const auto head = heads_.find(run.word(i));
    if (head == heads_.end()) continue;
    headed_by_last(run, i, head->second, visit);
    headed_by_first(run, i, head->second, visit);
  }
}

void Candidates::headed_by_last(const WordRun& run, Index head, Index of_concept,
                                const std::function<void(std::string_view phrase, Index of_concept)>& visit) const {
  for (Index count = 2; count <= most_words && head + 1 - count >= 0; ++count) {
    const std::string_view word = run.word(head + 1 - count);
    if (!is_content(word) || word == of_) return; // "of" belongs to a phrase with its head in front, whatever the function words are
    const std::string_view phrase = run.words(head + 1 - count, count);
    if (may_be_listed(phrase)) visit(phrase, of_concept);
  }
}

void Candidates::headed_by_first(const WordRun& run, Index head, Index of_concept,
                                 const std::function<void(std::string_view phrase, Index of_concept)>& visit) const {
  if (head + 2 >= run.size() || run.word(head + 1) != of_) return;
  const Index last = run.word(head + 2) == the_ ? head + 3 : head + 2;
  if (last >= run.size() || !is_content(run.word(last)) || run.word(last) == the_) return;
  const auto take = [&](Index first) {
    const std::string_view phrase = run.words(first, last + 1 - first);
    if (last + 1 - first <= most_words && may_be_listed(phrase)) visit(phrase, of_concept);
  };
  take(head);
  if (head > 0 && run.word(head - 1) == the_) take(head - 1);
}

} // namespace concord::concepts
