#pragma once
/// The spans of tokens that a study of subspaces looks at: occurrences of its concepts, and random spans beside them.

#include "concord/comm/session.hpp"
#include "concord/concepts/concept_lists.hpp"
#include "concord/concepts/occurrences.hpp"
#include "concord/core/index.hpp"

#include <vector>

namespace concord::subspaces {

using concepts::SpanKind;

/// Rows [begin, end) of the tokens, all in one context.
struct Span {
  Index begin = 0;
  Index end = 0;
  Index document = 0; ///< the context's number where documents are not known, or few
  std::int32_t concept_number = 0;
  std::int32_t phrase = 0;
  std::int32_t family = -1;            ///< of phrases that share a word but for its ending; -1: the phrase has none but itself
  SpanKind kind = SpanKind::one_token; ///< of a random span that of the occurrence it stands beside
  bool random = false;                 ///< no occurrence, but a random span of the same length at the same place of another context
  std::int8_t phrase_half = 0;         ///< 0: members are chosen on its phrase, 1: they are reported on it
  std::int8_t document_half = 0;       ///< the two models' effects are measured on documents of different halves
  Index length() const { return end - begin; }
};

/// Where contexts lie, and which document each belongs to (corpus::Contexts).
struct ContextPlaces {
  const std::vector<Index>& offsets;
  const std::vector<Index>& document; ///< empty: not known
};

inline std::int32_t family_of(const Span& span) {
  return span.family >= 0 ? span.family : span.phrase;
}
/// The family of each phrase of the lists, named by its first phrase: phrases of one concept that share a word but for its ending
/// ("morning", "mornings", "long time", "time"). What is chosen on one must not be reported on another. Words are kin where they begin
/// alike for three letters at least and differ in their last three at most; function words and those of two letters count as no kin.
std::vector<std::int32_t> phrase_families(const concepts::ConceptLists& lists);

inline constexpr Index least_documents = 16;

struct SpanChoice {
  std::uint64_t seed = 0;
  Index phrases = 0;         ///< of all lists
  Index most_of_phrase = 20; ///< occurrences, so that no frequent word is the concept
};

/// Of each phrase up to so many occurrences, drawn at random over the corpus, and beside each a random span that overlaps no occurrence of
/// any concept, where sixteen draws find one; ascending by first row. Families of phrases stay whole in the halves, which are as equal in
/// number of phrases as they allow; those of documents over all; with fewer than least_documents documents each context stands for one. The
/// same on every rank and for any number of ranks; what a rank holds grows with the phrases of the lists, not with the corpus. Collective
/// over `comm`.
/// @param mine  the occurrences in this rank's contexts, those of Partition{contexts, ranks}, ascending; random and halves are not read
std::vector<Span> choose_spans(const comm::Communicator& comm, const std::vector<Span>& mine, const ContextPlaces& contexts,
                               const SpanChoice& choice);

} // namespace concord::subspaces
