#pragma once
/// What `compare` writes. Local.

#include "concord/similarity/compare_spaces.hpp"

namespace concord::similarity {

/// Bytes of the similarity.h5 of so many pairs of layers, at most: scores, probabilities and every value of their null distributions.
double similarity_file_bytes(const SpaceOptions& options, double pairs);

} // namespace concord::similarity
