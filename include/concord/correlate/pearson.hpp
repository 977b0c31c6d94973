#pragma once
/// Exact Pearson correlation of every feature of A with every feature of B from their non-zeros. Collective over `comm`.
///
///   r_ij = (N S_ij - S_i S_j) / sqrt((N S_ii - S_i^2) (N S_jj - S_j^2)),   S_ij = sum over rows of a_i b_j
///
/// Output-stationary: feature i of A belongs to one rank, which adds up S_ij over all rows in row order in float64 (a
/// posting list of i against the rows of B). So every number has the same bits at any number of ranks. The matrix is never
/// stored; the best partners of each feature are kept. Work: sum over rows of nnz_A(row) nnz_B(row).

#include "concord/comm/session.hpp"
#include "concord/io/npy.hpp"

#include <vector>

namespace concord::correlate {

/// The best partners of each feature, best first: larger r, then the smaller index. Features of no variance (dead or
/// constant) have none and are nobody's partner: places without a partner hold -1 and r = 0.
struct BestPartners {
  Index places = 0;
  std::vector<std::int32_t> partner; ///< [F, places]
  std::vector<double> r;             ///< [F, places]
  std::vector<Index> cofire;         ///< [F, places] rows on which both are active
};

struct PairCorrelation {
  BestPartners a_to_b;
  BestPartners b_to_a;
};

/// @param a, b  CSR of the same rows (tokens in one order); every rank passes all of both
/// @param best  partners kept a feature
/// @param shift in [0, N): row t of A is set beside row (t + shift) mod N of B, a null that keeps each side's own structure
/// @return on every rank
PairCorrelation best_correlations(const comm::Communicator& comm, const io::CsrMatrix& a, const io::CsrMatrix& b, Index best,
                                  Index shift = 0);

/// Count of active rows of each column.
std::vector<Index> column_counts(const io::CsrMatrix& matrix);

} // namespace concord::correlate
