#include "concord/concepts/occurrences.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/concepts/phrase_trie.hpp"
#include "concord/dist/partition.hpp"

#include "concepts/context_texts.hpp"
#include "concepts/folded_text.hpp"
#include <algorithm>
#include <numeric>
#include <optional>

namespace concord::concepts {
namespace {

/// The phrases in their order, then those that are silent.
std::vector<std::string> all_phrases(const ConceptLists& lists) {
  std::vector<std::string> texts;
  for (const auto& phrase : lists.phrases) texts.push_back(phrase.text);
  texts.insert(texts.end(), lists.silent.begin(), lists.silent.end());
  return texts;
}

/// Turns matches in a context into spans of tokens.
class Spans {
public:
  explicit Spans(const ConceptLists& lists) : phrases_(static_cast<Index>(lists.phrases.size())) {
    for (const auto& phrase : lists.phrases)
      several_words_.push_back(folded_phrase(phrase.text, lists.fold_case).find(' ') != std::string::npos);
  }

  void add(const ContextText& context, const std::vector<Match>& matches, std::vector<Occurrence>& out) const {
    const auto& ends = context.token_ends;
    std::size_t from = 0;
    for (const auto& match : matches) {
      if (match.phrase >= phrases_) continue;
      while (ends[from] <= match.begin) ++from;
      std::size_t first = from;
      std::size_t last = from;
      while (ends[last] < match.end) ++last;
      Occurrence occurrence;
      occurrence.shares_token = holds_text(context, context.token_begin(first), match.begin) || holds_text(context, match.end, ends[last]);
      if (first > 0 && is_space(context, first - 1) && context.token_begin(first) == match.begin) --first;
      occurrence.first_row = context.first_row + static_cast<Index>(first);
      occurrence.end_row = context.first_row + static_cast<Index>(last) + 1;
      occurrence.document = context.document;
      occurrence.phrase = static_cast<std::int32_t>(match.phrase);
      occurrence.kind = several_words_[static_cast<std::size_t>(match.phrase)] ? SpanKind::phrase
                        : occurrence.length() == 1                             ? SpanKind::one_token
                                                                               : SpanKind::several_tokens;
      out.push_back(occurrence);
    }
  }

private:
  static std::string_view part(const ContextText& context, Index begin, Index end) {
    return std::string_view(context.text).substr(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
  }
  static bool holds_text(const ContextText& context, Index begin, Index end) {
    return part(context, begin, end).find_first_not_of(" \t\r\n") != std::string_view::npos;
  }
  static bool is_space(const ContextText& context, std::size_t token) {
    return part(context, context.token_begin(token), context.token_ends[token]) == " ";
  }
  Index phrases_;
  std::vector<bool> several_words_;
};

} // namespace

std::vector<Occurrence> find_occurrences(const comm::Communicator& comm, const std::filesystem::path& tokens, const ConceptLists& lists,
                                         const comm::StopWithin& stop) {
  std::vector<Occurrence> found;
  comm::agree(comm, [&] {
    const PhraseTrie trie(all_phrases(lists), lists.fold_case);
    const ContextTexts texts(tokens);
    const Spans spans(lists);
    const dist::Partition share{texts.contexts(), comm.size()};
    texts.each(
        share.begin(comm.rank()), share.end(comm.rank()),
        [&](const ContextText& context) { spans.add(context, trie.find(context.text, context.begin, context.end), found); },
        [&] { return stop.wanted_here(); });
  });
  stop.throw_if_wanted(comm, "subspaces");
  return found;
}

OccurrenceCounts count_occurrences(const comm::Communicator& comm, const ConceptLists& lists, const std::vector<Occurrence>& mine) {
  OccurrenceCounts counts;
  for (const auto& occurrence : mine) counts.longest = std::max(counts.longest, occurrence.length());
  counts.longest = comm::max_of(comm, counts.longest);
  counts.of_phrase.resize(lists.phrases.size());
  counts.of_concept.resize(lists.concepts.size());
  for (const auto& occurrence : mine) {
    const auto phrase = static_cast<std::size_t>(occurrence.phrase);
    const auto of_concept = static_cast<std::size_t>(lists.phrases[phrase].of_concept);
    const auto kind = static_cast<std::size_t>(occurrence.kind);
    ++counts.of_phrase[phrase][kind];
    ++counts.of_concept[of_concept][kind];
    counts.sharing_tokens += occurrence.shares_token ? 1 : 0;
  }
  counts.total = comm::sum_of(comm, static_cast<Index>(mine.size()));
  counts.sharing_tokens = comm::sum_of(comm, counts.sharing_tokens);
  const auto sum_rows = [&](std::vector<std::array<Index, span_kinds>>& rows) {
    comm::sum(comm, reinterpret_cast<Index*>(rows.data()), static_cast<Index>(rows.size() * span_kinds));
  };
  sum_rows(counts.of_phrase);
  sum_rows(counts.of_concept);
  return counts;
}

std::vector<Index> never_occurring(const OccurrenceCounts& counts) {
  std::vector<Index> never;
  for (std::size_t p = 0; p < counts.of_phrase.size(); ++p)
    if (std::accumulate(counts.of_phrase[p].begin(), counts.of_phrase[p].end(), Index{0}) == 0) never.push_back(static_cast<Index>(p));
  return never;
}

} // namespace concord::concepts
