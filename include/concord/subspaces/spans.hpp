#pragma once
/// The spans of tokens that a study of subspaces looks at: occurrences of its concepts, and random spans beside them.

#include "concord/comm/session.hpp"
#include "concord/core/index.hpp"

#include <vector>

namespace concord::subspaces {

/// What kind of text a span holds; random spans have the kind of their occurrence.
enum class SpanKind : std::int8_t { word_of_one_token, word_of_several_tokens, phrase };
inline constexpr int span_kinds = 3;

/// Rows [begin, end) of the tokens, all in one context.
struct Span {
  Index begin = 0;
  Index end = 0;
  Index document = 0; ///< the context's number where documents are not known
  std::int32_t concept_number = 0;
  std::int32_t phrase = 0;
  SpanKind kind = SpanKind::word_of_one_token;
  bool random = false;           ///< no occurrence, but a random span of the same length at the same place of another context
  std::int8_t phrase_half = 0;   ///< 0: members are chosen on its phrase, 1: they are reported on it
  std::int8_t document_half = 0; ///< the two models' effects are measured on documents of different halves
  Index length() const { return end - begin; }
};

/// Where contexts lie, and which document each belongs to (corpus::Contexts).
struct ContextPlaces {
  const std::vector<Index>& offsets;
  const std::vector<Index>& document; ///< empty: not known
};

struct SpanChoice {
  std::uint64_t seed = 0;
  Index max_occurrences = 2000; ///< of a concept
};

/// Of each concept up to so many occurrences, drawn at random over the corpus, and beside each a random span that overlaps no occurrence of
/// any concept, where sixteen draws find one; sorted by their first row, an occurrence before its random span of equal place. Halves of
/// phrases are equal in number within a concept. The same on every rank and for any number of ranks; what a rank holds grows with the
/// concepts times max_occurrences, not with the corpus. Collective over `comm`.
/// @param mine  the occurrences in this rank's contexts, those of Partition{contexts, ranks}, ascending; random and halves are not read
std::vector<Span> choose_spans(const comm::Communicator& comm, const std::vector<Span>& mine, int concepts, const ContextPlaces& contexts,
                               const SpanChoice& choice);

} // namespace concord::subspaces
