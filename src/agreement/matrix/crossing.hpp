#pragma once
/// One matrix of A against one of B, made ready for permutations; and what of a pair's concepts is defined. Local.

#include "concord/agreement/matrix/matrix_agreement.hpp"

#include "agreement/matrix/two_way.hpp"

namespace concord::agreement {

using Matrix = std::vector<double>; ///< [C, C]

/// Throws unless sizes fit.
void check(const MatrixPair& pair);

/// Concepts whose row and column are defined somewhere in every matrix of every pair, among the concepts kept.
std::vector<Index> defined_concepts(const std::vector<MatrixPair>& pairs);
/// Rows and columns of the concepts named.
Matrix of_concepts(const Matrix& matrix, Index concepts, const std::vector<Index>& kept);
MatrixPair of_concepts(const MatrixPair& pair, const std::vector<Index>& kept);

/// Off-diagonal entries that are defined in all of the matrices.
Mask common_mask(Index concepts, const std::vector<const Matrix*>& matrices);
/// Normal scores of the mask's entries, 0 elsewhere.
Matrix masked_scores(const Matrix& matrix, const Mask& mask);
/// An orthonormal basis of what covariates, given as scores, say beyond rows and columns.
std::vector<Matrix> covariate_basis(const std::vector<Matrix>& scores, const TwoWay& two_way);
/// Takes rows, columns and the basis out.
void take_out(Matrix& values, const TwoWay& two_way, const std::vector<Matrix>& basis);

struct Statistic {
  double r = not_known;
  double t = not_known;
  double robust_t = not_known;
  double spearman = not_known;
  Index df = 0;
};

class Crossing {
public:
  Crossing(Index concepts, const Matrix& a, const Matrix& b, const std::vector<Matrix>& dyadic);
  /// Of A and of B with rows and columns in this order. t is infinite where the permuted entries that are defined are too few: such a
  /// permutation counts against the claim.
  Statistic permuted(const std::vector<Index>& order) const;
  Statistic observed() const;
  /// Why there is none, else empty.
  const std::string& reason() const { return reason_; }
  Index undefined_entries() const { return c_ * (c_ - 1) - entries_; }
  Index covariates() const { return static_cast<Index>(basis_.size()); }

private:
  Statistic of_complete(const std::vector<Index>& order) const;
  Statistic of_incomplete(const std::vector<Index>& order) const;
  Index c_;
  Index entries_ = 0;
  Index df_ = 0;
  Mask mask_;
  std::vector<Matrix> covariate_scores_;
  std::vector<Matrix> basis_;
  Matrix residual_a_, residual_b_; ///< 0 off the mask
  Matrix rank_a_, rank_b_;         ///< centred, 0 off the mask
  double norm_a_ = 0, squares_b_ = 0, rank_norm_ = 0;
  std::string reason_;
};

/// All crossings of a pair whose concepts are all defined.
std::vector<Crossing> crossings_of(const MatrixPair& pair);
/// Mean r, t and Spearman over crossings; df of the first.
Statistic mean_statistic(const std::vector<Crossing>& crossings, const std::vector<Index>& order);
std::vector<Index> identity(Index concepts);
/// Of the concepts of a pair that are defined, mean over crossings; NaN where it is not defined.
Statistic observed_statistic(const MatrixPair& pair);

} // namespace concord::agreement
