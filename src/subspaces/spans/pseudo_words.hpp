#pragma once
/// Pseudo-concepts: words of no concept that stand in for the phrases of the lists (concepts/stand_ins.hpp), as a control.

#include "concord/concepts/stand_ins.hpp"
#include "concord/io/hdf5.hpp"
#include "concord/subspaces/spans/spans.hpp"

#include <filesystem>

namespace concord::subspaces {

struct PseudoWords {
  std::vector<concepts::StandIn> words; ///< by phrase, ascending
  std::vector<Index> of_concept;        ///< [words] the concept of the phrase
  /// Occurrences that are looked at, ascending by first row: phrase is the number of the word; concept and half are those of the phrase.
  std::vector<Span> spans;
};

struct PseudoInputs {
  const std::filesystem::path& tokens;
  const concepts::ConceptLists& lists;
  const std::vector<concepts::Occurrence>& mine; ///< of the lists' phrases, this rank's
  const std::vector<Span>& spans;                ///< of these, those that are looked at (choose_spans())
  ContextPlaces contexts;
};
/// Up to `most_of_word` occurrences of each word, drawn as those of phrases are. Collective over `comm`; the same on every rank.
/// @throws Error as find_stand_ins(), agreed.
PseudoWords pseudo_words(const comm::Communicator& comm, const PseudoInputs& inputs, Index most_of_word, std::uint64_t seed,
                         const comm::StopWithin& stop = comm::StopWithin());

/// Writes /pseudo/... (docs/formats.md). Local.
void write_pseudo_words(io::File& file, const PseudoWords& pseudo);

} // namespace concord::subspaces
