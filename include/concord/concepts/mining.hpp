#pragma once
/// Finds the phrases of a corpus that are headed by a word of a concept: "long time", "old house", "the king of France". Collective over
/// `comm` where it says so; the same on any number of ranks.
///
/// A word is a run of word characters (phrase_trie.hpp), with single hyphens and apostrophes between them ("old-fashioned", "king's").
/// Words follow one another where white space alone lies between them, inside a context. A line break is a gap where an upper-case letter
/// follows: so lines of verse, paragraphs and headings end a run, and wrapped prose does not (but for a name at the beginning of its line).
/// The candidates are, for each word H that is a phrase of a concept by itself,
/// - one to three words and H, none of them a function word ("long time", "good old house"), and
/// - H, `of` or `of the`, and one word that is no function word, with or without `the` in front, four words at most ("king of France", "the
///   king of France", "end of the world").
/// Function words and `of`, `the` are those of English by default.
///
/// Candidates are ranked by Dunning's log-likelihood ratio (Dunning 1993, Computational Linguistics 19:61) of their parts: for the split of
/// the words into two parts that gives the largest, among splits whose parts occur together more often than by chance (O11 > E11). Of the
/// table, O11 is the phrase's count, O11 + O12 that of the first part anywhere, O11 + O21 that of the second, and the total the corpus'
/// words. All counts are of whole words inside contexts, and exact.
///
/// Three passes over the corpus, with memory that does not grow with it. First each candidate is counted in two tables of 2^table_bits
/// counters, by two hashes; no candidate is more frequent than either counter says (Park, Chen and Yu 1995, SIGMOD). Then the candidates
/// whose two counters both reach the minimum are counted, then the parts of those that reach it. The minimum is min_count, or the
/// candidates in the corpus / most_candidates where that is larger; so no more than most_candidates phrases reach it, and the result says
/// which it was.

#include "concord/comm/session.hpp"
#include "concord/comm/stop.hpp"
#include "concord/concepts/concept_lists.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace concord::concepts {

/// 2 sum O ln(O / E) of a 2 x 2 table, without the cells that are 0 (Dunning 1993); 0 where a row or a column is empty. Natural logarithms.
/// Two-sided: large for k11 far below its expectation, too. Local.
double log_likelihood_ratio(double k11, double k12, double k21, double k22);

/// Articles, prepositions, pronouns, conjunctions, auxiliaries and the like. Local.
const std::vector<std::string>& english_function_words();

struct MiningOptions {
  Index min_count = 5;          ///< a phrase that occurs less often is left out
  double min_g2 = 10.83;        ///< and one of a smaller ratio: chi-square with one degree of freedom at 0.001
  Index most_per_concept = 200; ///< phrases of a concept, those of the largest ratios
  Index most_candidates = 1 << 18;
  int table_bits = 22; ///< 2^bits counters of 8 bytes in each of the two tables
  std::vector<std::string> function_words = english_function_words();
  std::string of = "of";
  std::string the = "the";
};

struct MinedPhrase {
  std::string text; ///< folded as the lists are compared, composed (NFC)
  Index of_concept = 0;
  Index words = 0;
  Index count = 0;
  double g2 = 0;
};

struct Mined {
  std::vector<MinedPhrase> phrases; ///< by concept, then by falling g2, then by text; none that the lists hold already
  Index words = 0;                  ///< of the corpus
  Index candidates = 0;             ///< occurrences of candidates
  Index min_count = 0;              ///< that was applied
};

/// Mines. Collective over `comm`; the same on every rank. Memory: 16 bytes << table_bits, the vocabulary, 16 bytes a context, and some
/// 100 bytes for each candidate that passes both tables, 4 most_candidates at most.
/// @throws Error input_missing or bad_data as find_occurrences(), config (options out of range), unavailable (more candidates pass the
/// tables than that: raise min_count or table_bits), stopped (where `stop` is wanted). Agreed.
Mined mine_phrases(const comm::Communicator& comm, const std::filesystem::path& tokens, const ConceptLists& lists,
                   const MiningOptions& options = {}, const comm::StopWithin& stop = comm::StopWithin());

/// Writes them as a table that read_concept_lists() reads and a person can edit: group (where there are groups), concept, phrase, weight 1,
/// count, g2. Local; on one rank. @throws Error io.
void write_mined(const std::filesystem::path& path, const ConceptLists& lists, const std::vector<MinedPhrase>& phrases);

} // namespace concord::concepts
