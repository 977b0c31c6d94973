#pragma once
/// Dissimilarities of a matrix's rows (its RDM), a tile at a time, as whole numbers of a step: what ranks, ties and sums are then exact.
/// Local.

#include "concord/similarity/measures/matrix.hpp"
#include "concord/similarity/settings.hpp"

#include <cstdint>
#include <string>

namespace concord::similarity {

/// Dissimilarities are whole numbers of steps in [0, 2^step_bits]: steps of 2^-43 for correlation and cosine, some 500 times what rounding
/// moves them by; for Euclidean distances of 2^-43 of the largest norm.
inline constexpr int step_bits = 44;

class Rdm {
public:
  Rdm(const Matrix& matrix, RdmKind kind);
  Index rows() const { return matrix_->rows; }
  Index cols() const { return matrix_->cols; }
  /// The first row without a direction (constant, or zero), for which correlation or cosine is not defined; -1: none.
  Index undefined_row() const { return undefined_row_; }
  /// Rows [begin, begin + count) made ready for products.
  void prepare(Index begin, Index count, double* out) const;
  /// Dissimilarities [ni, nj] of prepared rows from i0 and j0 on. Every entry is one product over all of d, so it does not depend on which
  /// rank makes it.
  void dissimilarities(const double* rows_i, Index i0, Index ni, const double* rows_j, Index j0, Index nj, double* out) const;
  /// Of one pair, by itself. `room` for 2 d numbers.
  double dissimilarity(Index i, Index j, double* room) const;
  /// Those of the rows named, all pairs [n, n].
  std::vector<double> among(const std::vector<Index>& rows) const;

private:
  double steps(double product, Index i, Index j) const;
  const Matrix* matrix_;
  RdmKind kind_;
  double scale_ = 1;
  std::vector<double> shift_;   ///< of each row; euclidean: of each column
  std::vector<double> factor_;  ///< of each row
  std::vector<double> squares_; ///< euclidean: squared norms of shifted rows
  Index undefined_row_ = -1;
};

} // namespace concord::similarity
