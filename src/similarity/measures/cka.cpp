#include "concord/similarity/measures/cka.hpp"

#include <cmath>
#include <limits>
#include <numeric>

namespace concord::similarity {

double cka(double cross, const CkaSide& x, const CkaSide& y) {
  return cross / std::sqrt(x.self * y.self);
}

namespace {

/// n (n - 3) HSIC_u of centred matrices.
double unbiased(double cross, double diagonal, double squares_x, double squares_y, double n) {
  return cross - n / (n - 2) * diagonal + squares_x * squares_y / ((n - 1) * (n - 2));
}

} // namespace

double cka_debiased(double cross, double diagonal, const CkaSide& x, const CkaSide& y) {
  const auto n = static_cast<double>(x.row_squares.size());
  const double nan = std::numeric_limits<double>::quiet_NaN();
  if (n < 4) return nan;
  const auto sum = [](const std::vector<double>& v) { return std::accumulate(v.begin(), v.end(), 0.0); };
  const auto diagonal_of = [](const std::vector<double>& v) { return std::inner_product(v.begin(), v.end(), v.begin(), 0.0); };
  const double sum_x = sum(x.row_squares);
  const double sum_y = sum(y.row_squares);
  const double self_x = unbiased(x.self, diagonal_of(x.row_squares), sum_x, sum_x, n);
  const double self_y = unbiased(y.self, diagonal_of(y.row_squares), sum_y, sum_y, n);
  if (self_x <= 0 || self_y <= 0) return nan;
  return unbiased(cross, diagonal, sum_x, sum_y, n) / std::sqrt(self_x * self_y);
}

} // namespace concord::similarity
