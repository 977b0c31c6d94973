#pragma once
/// AUC of a feature's values at a concept's spans against its values at other spans (Mann and Whitney 1947), from sparse values. Local.

#include "concord/core/index.hpp"

#include <limits>
#include <span>

namespace concord::agreement {

/// Values of one class: those that are not zero, in any order (ascending ones are not sorted again), and the number of zeros. Zeros among
/// `values`, and negative values, are ranked where they belong.
struct AucSide {
  std::span<const double> values;
  Index zeros = 0;
};

struct AucOptions {
  /// p is exact where a class has fewer members than this and its distribution takes no more additions than `exact_work` (1e7: some
  /// milliseconds). Without ties there are 2 n1^2 n0 (n1 + n0), n1 the smaller class: 10 against 215 or 19 against 108 are still exact.
  /// Ties, of zeros above all, lower it.
  Index exact_below = 20;
  double exact_work = 1e7;
};

struct Auc {
  Index positives = 0;
  Index negatives = 0;
  std::int64_t twice_u = 0;                              ///< 2 U, exact: 2 for each pair with the positive above, 1 for each tied pair
  double auc = std::numeric_limits<double>::quiet_NaN(); ///< U / (n1 n0); NaN where a class is empty
  double sd = std::numeric_limits<double>::quiet_NaN();  ///< of the AUC if labels are exchangeable, ties counted
  double p = std::numeric_limits<double>::quiet_NaN();   ///< P(AUC as large or larger)
  bool exact = false; ///< p by the distribution of U over all labellings, ties kept; else normal with continuity correction
};

/// Variance with ties: (n + 1) / (12 n1 n0) (1 - sum_t (t^3 - t) / (n^3 - n)). Where all values are equal, p = 1.
/// @throws Error bad_data: a value is NaN, or 2 n1 n0 does not fit 63 bits.
Auc auc(const AucSide& positives, const AucSide& negatives, const AucOptions& options = {});

} // namespace concord::agreement
