#pragma once
/// Sums over W = U diag(weights) U^T that moments of the RV coefficient ask for (chance.hpp).

#include "concord/similarity/factor/factor.hpp"

namespace concord::similarity {

/// The carrier of `f` is U; its first components have these weights, the others none. The cubes of W's entries are summed over 1,024 rows
/// where there are more. Collective over `comm`.
GramMoments gram_moments(const comm::Communicator& comm, const Factor& f, const std::vector<double>& weights);

} // namespace concord::similarity
