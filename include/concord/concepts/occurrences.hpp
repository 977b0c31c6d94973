#pragma once
/// Where the phrases of concept lists occur in a corpus: spans of tokens whose bytes hold a phrase at word boundaries
/// (phrase_trie.hpp). Collective over `comm` where it says so; the same on any number of ranks.
///
/// The text is that of the tokens' pieces in tokens.h5, context by context, so that it is there for any tokenizer and no text files are
/// needed. Within each context the leftmost and longest matches are taken of those that lie in it whole: a phrase cut by a context's end is
/// no occurrence (a shorter one inside the context may be: a model reads a context by itself). Whether a word ends at a context's edge is
/// seen from the neighbouring context of its document. A file that does not say which document a context is of has one a context.
///
/// The span is the tokens of the context that hold any byte of the match, and a token that is a single space in front of them, which
/// SentencePiece cut from the word. A character may be split over tokens: all that hold a byte of it count. Nothing is found beside text
/// that is not known: <unk>, and the bytes of split characters that tokens of a tokenizer.json could only write as U+FFFD (several in one
/// piece).

#include "concord/comm/session.hpp"
#include "concord/comm/stop.hpp"
#include "concord/concepts/concept_lists.hpp"

#include <array>
#include <cstdint>
#include <filesystem>
#include <vector>

namespace concord::concepts {

enum class SpanKind : std::uint8_t {
  one_token = 0,      ///< a word (a phrase without white space) of one token
  several_tokens = 1, ///< a word of several tokens
  phrase = 2          ///< several words
};
constexpr std::size_t span_kinds = 3;

struct Occurrence {
  Index first_row = 0; ///< rows [first_row, end_row) of the corpus
  Index end_row = 0;
  Index document = 0;
  std::int32_t phrase = 0; ///< its number in ConceptLists::phrases
  SpanKind kind = SpanKind::one_token;
  bool shares_token = false; ///< its first or last token holds other text than white space, too, such as punctuation

  Index length() const { return end_row - first_row; }
};

/// This rank's share: those in contexts dist::Partition{contexts, ranks} gives it, by first_row. Collective over `comm`.
/// Memory: the vocabulary, the trie, 16 bytes a context, some MB of ids, and 32 bytes an occurrence.
/// @throws Error input_missing, or bad_data (a file without the texts of its tokens; it says what makes one), stopped (where `stop` is
/// wanted). Agreed.
std::vector<Occurrence> find_occurrences(const comm::Communicator& comm, const std::filesystem::path& tokens, const ConceptLists& lists,
                                         const comm::StopWithin& stop = comm::StopWithin());

/// Numbers of occurrences on all ranks.
struct OccurrenceCounts {
  Index total = 0;
  Index sharing_tokens = 0;                              ///< those with shares_token
  Index longest = 0;                                     ///< length in tokens of the longest
  std::vector<std::array<Index, span_kinds>> of_phrase;  ///< of each phrase, by kind
  std::vector<std::array<Index, span_kinds>> of_concept; ///< of each concept, by kind
};

/// Counts the occurrences of all ranks. Collective over `comm`; the same on every rank.
OccurrenceCounts count_occurrences(const comm::Communicator& comm, const ConceptLists& lists, const std::vector<Occurrence>& mine);

/// Numbers of the phrases that never occur. Local.
std::vector<Index> never_occurring(const OccurrenceCounts& counts);

} // namespace concord::concepts
