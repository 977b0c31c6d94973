#pragma once
/// Linear CKA, biased (Kornblith et al. 2019) and debiased (Song et al. 2012), in feature space: no M x M matrix. Local.

#include "concord/core/index.hpp"

#include <vector>

namespace concord::similarity {

/// What CKA needs of one side, centred: ||X^T X||_F^2 and the squared norms of its rows.
struct CkaSide {
  double self = 0;
  std::vector<double> row_squares;
};

/// ||X^T Y||_F^2 / (||X^T X||_F ||Y^T Y||_F); `cross` = ||X^T Y||_F^2.
double cka(double cross, const CkaSide& x, const CkaSide& y);

/// The same with unbiased estimates of HSIC, mean 0 for independent rows, may be negative. `diagonal` = sum_i of the products of matched
/// rows' squared norms. NaN for fewer than 4 rows, or where an estimate of a side with itself is not positive.
double cka_debiased(double cross, double diagonal, const CkaSide& x, const CkaSide& y);

} // namespace concord::similarity
