#pragma once
/// Shuffled pairings of M matched items: order[i] is the row of Y that meets row i of X. Local; the same on any number of ranks.

#include "concord/core/index.hpp"

#include <vector>

namespace concord::similarity {

/// Permutation `number` of [0, m), uniform.
std::vector<Index> shuffled_pairing(Index m, std::uint64_t seed, Index number);

/// Permutation `number` that moves items only among those of one stratum.
std::vector<Index> stratified_pairing(const std::vector<Index>& strata, std::uint64_t seed, Index number);

/// Strata of features alike in firing rate (half a power of ten) and decoder norm (a tenth of one). Rates may be empty.
std::vector<Index> strata_of(const std::vector<double>& rates, const std::vector<double>& norms);

} // namespace concord::similarity
