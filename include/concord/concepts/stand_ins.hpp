#pragma once
/// Words that stand in for the phrases of concept lists: alike in frequency and length, and of no concept. Collective over `comm`.
///
/// A word (mining.hpp) may stand in for a phrase if it is no function word, has three letters or more, is none of the words of any phrase
/// of the lists, and shares none of these but for its ending (share_a_stem()). For each phrase up to `candidates` words are drawn from
/// those nearest in how often they stand in a sample of the corpus; then all of these are looked for in the whole corpus as phrases are,
/// and each phrase takes the one of as many tokens (those of most occurrences) whose number of occurrences is nearest in its logarithm, no
/// word twice.

#include "concord/concepts/occurrences.hpp"

#include <string>
#include <vector>

namespace concord::concepts {

/// Whether two words begin alike for three bytes at least and differ in their last three at most. Local.
bool share_a_stem(const std::string& a, const std::string& b);
/// Words of a phrase in lower case, as far as ASCII goes, without those that say nothing of its meaning. Local.
std::vector<std::string> content_words(const std::string& phrase);

struct StandInOptions {
  std::uint64_t seed = 0;
  Index sample = Index{1} << 22; ///< tokens of the sample, about
  Index candidates = 12;         ///< of a phrase
};

/// A word and what it stands in for.
struct StandIn {
  std::string word;
  Index phrase = 0; ///< its number in ConceptLists::phrases
  Index count = 0;  ///< occurrences in the corpus
  Index length = 0; ///< in tokens, of most of them
};

struct StandIns {
  std::vector<StandIn> words;          ///< by phrase, ascending
  std::vector<Occurrence> occurrences; ///< this rank's, by first_row; phrase: number in `words`
};

/// For the phrases that occur, as far as words are found; the same on every rank, and for any number of them.
/// @param mine  this rank's occurrences of the lists' phrases. @throws Error as find_occurrences(). Agreed.
StandIns find_stand_ins(const comm::Communicator& comm, const std::filesystem::path& tokens, const ConceptLists& lists,
                        const std::vector<Occurrence>& mine, const StandInOptions& options,
                        const comm::StopWithin& stop = comm::StopWithin());

} // namespace concord::concepts
