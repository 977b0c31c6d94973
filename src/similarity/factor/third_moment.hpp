#pragma once
/// Third moments of what permutations and random subspaces give (chance.hpp).

#include "concord/similarity/chance/chance.hpp"

namespace concord::similarity {

/// Skewness of the RV coefficient under permutation, whose mean and standard deviation are `moments`; NaN for m < 6, or where a sum is not
/// known.
double rv_skewness(Index m, const GramMoments& x, const GramMoments& y, const Moments& moments);

} // namespace concord::similarity
