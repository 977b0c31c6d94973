#pragma once
/// Dissimilarities of a matrix's rows (its RDM), a tile at a time, as whole numbers: what ranks, ties and sums are then exact. Local.

#include "concord/similarity/matrix.hpp"

#include <cstdint>
#include <string>

namespace concord::similarity {

/// 1 - Pearson r of two rows, 1 - their cosine, or their Euclidean distance.
enum class RdmKind { correlation, cosine, euclidean };
/// By its word in a study, and back. @throws Error config.
RdmKind parse_rdm_kind(const std::string& word);
const char* name_of(RdmKind kind);

using Key = std::uint32_t;

class Rdm {
public:
  /// Keys lie in [0, 2^bits].
  Rdm(const Matrix& matrix, RdmKind kind, int bits);
  Index rows() const { return matrix_->rows; }
  Index cols() const { return matrix_->cols; }
  /// The first row without a direction (constant, or zero), for which correlation or cosine is not defined; -1: none.
  Index undefined_row() const { return undefined_row_; }
  /// Rows [begin, begin + count) made ready for products.
  void prepare(Index begin, Index count, double* out) const;
  /// Keys [ni, nj] of prepared rows from i0 and j0 on; `products` is room for as many numbers. Every entry is one product over all of d, so
  /// it does not depend on which rank makes it.
  void keys(const double* rows_i, Index i0, Index ni, const double* rows_j, Index j0, Index nj, double* products, Key* out) const;
  /// The key of one pair, by itself. `room` for 2 d numbers.
  Key key(Index i, Index j, double* room) const;

private:
  Key to_key(double product, Index i, Index j) const;
  const Matrix* matrix_;
  RdmKind kind_;
  double scale_ = 1;
  std::vector<double> shift_;   ///< of each row; euclidean: of each column
  std::vector<double> factor_;  ///< of each row
  std::vector<double> squares_; ///< euclidean: squared norms of shifted rows
  Index undefined_row_ = -1;
};

} // namespace concord::similarity
