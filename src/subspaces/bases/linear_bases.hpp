#pragma once
/// Subspaces of one dimension that tell a concept's rows from all others: difference of means, LDA, LEACE. Local.
///
/// With delta = mean of the class - mean of the rest, S the covariance of all rows, and p, q the shares of the two classes,
///   means  delta
///   lda    S^-1 delta. S is that within classes and p q delta delta^T, so S^-1 delta points where S_w^-1 delta does (Sherman
///          and Morrison): one matrix serves all concepts
///   leace  x - W^+ P W (x - mean), P the projector on W S_xz, W = S^-1/2 (Belrose et al. 2023). S_xz = p q delta, so it is
///          x - delta (g^T (x - mean)) / (g^T delta), g = S^-1 delta: what LDA reads off is taken along delta, not orthogonally
/// S is shrunk as Ledoit and Wolf 2004 where there are fewer rows than 5 d; eigenvalues below 1e-6 of the largest are cut.

#include "concord/subspaces/bases/bases.hpp"

namespace concord::subspaces {

/// @throws Error bad_data: a row is not finite.
LayerWhitening layer_whitening(const RowsOfConcepts& rows);

/// One basis of each concept; of no dimension where `wanted` is false, where all rows or none are the concept's, or where its rows have the
/// others' mean.
struct LinearBases {
  std::vector<Basis> means, lda, leace;
};
LinearBases linear_bases(const RowsOfConcepts& rows, const LayerWhitening& whitening, const std::vector<bool>& wanted);
/// The first of them alone, for which no covariance is needed.
std::vector<Basis> means_bases(const RowsOfConcepts& rows, const std::vector<bool>& wanted);

} // namespace concord::subspaces
