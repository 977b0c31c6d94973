#pragma once
/// Lists of the words and phrases that belong to concepts. Collective over `comm` where it says so: rank 0 reads the files.
///
/// Two shapes:
/// - a table, `concepts.tsv`: UTF-8, a header line, then one phrase a line, columns split by tabs: `concept` (or `category`), `phrase`,
///   and optionally `group` and `weight`; `n_words`, `count` and `g2` are there for people and not read. Without the column `group` all
///   concepts are of the group "", which means that no groups are known: any two concepts are exchangeable.
/// - a folder: NAME.txt is the concept NAME, one phrase a line; in sub-folders, whose names are the groups, or all beside one another.
/// A byte order mark, CRLF and empty lines are accepted. White space around a phrase is cut, runs of it are one space.
///
/// A phrase that stands in several concepts (compared as the trie does, phrase_trie.hpp) belongs to the smallest: the one whose
/// list is part of another of them, and holds none that is. Where there is no such list, or several, it belongs to none. So january belongs
/// to MonthNames, which is part of Calendar, though Time holds it, too; orange, in Colours and in Food, belongs to neither. Weight 0 leaves
/// a phrase out. Phrases that are left out, and those of no concept, are `silent`: they are looked for all the same, so that no shorter
/// phrase is found inside them (weight 0 for "New York" keeps york out).

#include "concord/comm/session.hpp"
#include "concord/core/index.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace concord::concepts {

struct Concept {
  std::string name;
  std::string group;
};

struct Phrase {
  std::string text;
  Index of_concept = 0; ///< its number in ConceptLists::concepts
  double weight = 1;    ///< finite, above 0
};

/// A phrase that stands in several concepts.
struct SharedPhrase {
  std::string text;
  std::vector<Index> concepts;
  Index kept_by = -1; ///< the concept that it belongs to; -1: none
};

struct ConceptLists {
  std::vector<Concept> concepts;    ///< in the order of their first lines; of a folder by path
  std::vector<Phrase> phrases;      ///< in the order of the files; no two are equal when compared
  std::vector<SharedPhrase> shared; ///< in the order of their first lines
  std::vector<std::string> silent;  ///< phrases that are looked for and belong to no concept
  Index merged = 0;                 ///< lines that repeat a phrase of their concept
  bool fold_case = true;            ///< whether upper and lower case are one
};

/// The longest phrase in bytes.
constexpr Index longest_phrase = 256;

/// Reads a table or a folder of lists. Collective over `comm`; the same on every rank.
/// @throws Error input_missing; bad_data naming file and line (not UTF-8, unknown or missing columns, a concept without phrases or in two
/// groups, a weight that is no finite number or below 0, two weights for one phrase of a concept). Agreed.
ConceptLists read_concept_lists(const comm::Communicator& comm, const std::filesystem::path& path, bool fold_case = true);

/// A table whose text is read already; `file` is for messages. Local. @throws Error bad_data as read_concept_lists().
ConceptLists parse_concept_table(const std::string& file, const std::string& text, bool fold_case = true);

} // namespace concord::concepts
