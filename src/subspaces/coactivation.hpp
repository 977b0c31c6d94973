#pragma once
/// How often two concepts are near each other, over the whole corpus: their words, and their members.

#include "concord/comm/session.hpp"
#include "concord/concepts/occurrences.hpp"
#include "concord/features/features.hpp"

namespace concord::subspaces {

/// Log odds, with 1/2 added to each count, that words of two concepts occur in the same window of a context: [C, C]. Collective over
/// `comm`; the same on all ranks. @param mine occurrences that this rank found, in the order of the corpus
std::vector<double> words_together(const comm::Communicator& comm, const std::vector<concepts::Occurrence>& mine,
                                   const concepts::ConceptLists& lists, const std::vector<Index>& context_offsets, Index window);

/// Log odds, with 1/2 added to each count, that a member of c and a member of c' are active in the same window of `window` tokens of a
/// context: [C, C], the windows those of the words (words_together()). A feature that is a member of both counts for neither. The diagonal,
/// and concepts without a member of their own, are NaN. Time goes with the codes; each rank reads its share of the contexts, piece by
/// piece. The same on all ranks. Looks for the stop signal. Collective over `comm`. @param members of each concept
/// @throws Error bad_data, io, stopped; agreed.
std::vector<double> members_together(const comm::Communicator& comm, const features::FeaturesFile& file, int layer,
                                     const std::vector<std::vector<std::int32_t>>& members, const std::vector<Index>& context_offsets,
                                     Index window);

} // namespace concord::subspaces
