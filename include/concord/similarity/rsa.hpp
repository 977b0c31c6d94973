#pragma once
/// RSA of two matrices with matched rows: Spearman correlation of their correlation RDMs. Collective over `comm`.
///
///   RDM entry (i, j) = 1 - Pearson(row i, row j); the M (M - 1) / 2 entries above the diagonal are ranked with average
///   ranks for ties and the ranks correlated. Correlations are rounded to multiples of 2^-40 first, so that duplicate rows
///   tie exactly whatever the order of summation. A shuffled pairing permutes rows and columns of one rank table.

#include "concord/similarity/measure.hpp"

namespace concord::similarity {

struct RsaOptions {
  Index max_features = 5000; ///< larger sets are sampled at random to this size: memory is 16 bytes x features^2 a rank
};

struct Rsa {
  Measure measure;
  Index features = 0; ///< rows used
};

/// Undefined with fewer than 3 rows or when an RDM is constant.
Rsa rsa(const comm::Communicator& comm, const Matrix& x, const Matrix& y, const RsaOptions& options, Index permutations,
        std::uint64_t seed);

/// Average ranks (1-based) of values, ties sharing their mean.
std::vector<double> average_ranks(const std::vector<double>& values);

} // namespace concord::similarity
