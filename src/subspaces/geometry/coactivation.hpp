#pragma once
/// How often two concepts are near each other, over the whole corpus: their words, and their members.

#include "concord/comm/session.hpp"
#include "concord/concepts/occurrences.hpp"
#include "concord/features/features.hpp"

namespace concord::subspaces {

/// How much more often two concepts are in one window than by chance, [C, C]. Log odds are free of the margins: the one that tests use.
struct Together {
  std::vector<double> log_odds; ///< 1/2 added to each count
  std::vector<double> phi;      ///< NaN where one is in every window or in none
  std::vector<double> npmi;     ///< NaN where they never meet
};

/// That words of two concepts occur in the same window of a context. Collective over `comm`; the same on all ranks.
/// @param mine occurrences that this rank found, in the order of the corpus
Together words_together(const comm::Communicator& comm, const std::vector<concepts::Occurrence>& mine, const concepts::ConceptLists& lists,
                        const std::vector<Index>& context_offsets, Index window);

/// That a member of c and a member of c' are active in the same window of `window` tokens of a context, the windows those of the words
/// (words_together()). A feature that is a member of both counts for neither. The diagonal, and concepts without a member of their own, are
/// NaN. Time goes with the codes; each rank reads its share of the contexts, piece by piece. The same on all ranks. Looks for the stop
/// signal. Collective over `comm`.
/// @param members features of the layer, of each concept
/// @throws Error bad_data, io, stopped; agreed.
Together members_together(const comm::Communicator& comm, const features::FeaturesFile& file, int layer,
                          const std::vector<std::vector<std::int32_t>>& members, const std::vector<Index>& context_offsets, Index window);

} // namespace concord::subspaces
