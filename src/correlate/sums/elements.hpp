#pragma once
/// What the large arrays of the correlation consist of, and r from sums: for the host and for GPUs alike. Local.

#include "concord/core/machine/warp.hpp"

#include <cmath>
#include <cstdint>

namespace concord::correlate {

/// One candidate of a feature.
struct Partner {
  double r = 0;
  std::int32_t feature = -1;
  std::int32_t cofire = 0;
};

/// Larger r, then the smaller number.
CONCORD_ANYWHERE inline bool better(const Partner& x, const Partner& y) {
  return x.r > y.r || (x.r == y.r && x.feature < y.feature);
}

/// A pair that exceeds given bounds.
struct Exceeding {
  std::int32_t a;
  std::int32_t b;
  double r;
  std::int32_t cofire;
};

/// A row of A on which a feature is active.
struct Posting {
  std::int32_t row;
  float value;
};

/// Of a feature of A with a feature of B: side by side, so that one 16-byte load, multiply-add and store serves both.
struct alignas(16) Accumulator {
  double sum;
  double cofire; ///< rows on which both are active
};

/// r of A's feature of (sum, inverse) with B's of (sum_b, inverse_b), `inverse` being 1 / sqrt(N S_jj - S_j^2), NaN without variance; the
/// same when A and B change places. Rounding may leave it a little beyond 1.
CONCORD_ANYWHERE inline double pearson(double n, double products, double sum, double inverse, double sum_b, double inverse_b) {
  return fma(n, products, -(sum * sum_b)) * (inverse * inverse_b); // fma said: the same bits wherever this is compiled into
}

} // namespace concord::correlate
