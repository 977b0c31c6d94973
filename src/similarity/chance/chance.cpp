#include "concord/similarity/chance/chance.hpp"

#include <boost/math/special_functions/gamma.hpp>

#include "similarity/factor/third_moment.hpp"
#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace concord::similarity {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

struct Wachter {
  double small, large; ///< g1 <= g2, dimensions as shares of n
  double middle, half; ///< of the interval of squared correlations
};

Wachter wachter(Index n, Index k1, Index k2) {
  const double g1 = static_cast<double>(std::min(k1, k2)) / static_cast<double>(n);
  const double g2 = static_cast<double>(std::max(k1, k2)) / static_cast<double>(n);
  return {g1, g2, g1 + g2 - 2 * g1 * g2, std::sqrt(std::max(0.0, 4 * g1 * g2 * (1 - g1) * (1 - g2)))};
}

} // namespace

double wachter_mean(Index n, Index k1, Index k2) {
  if (n <= 0 || std::min(k1, k2) <= 0) return nan;
  if (std::max(k1, k2) >= n) return 1;
  const auto w = wachter(n, k1, k2);
  // lambda = middle + half cos(t) takes the square roots at both ends of the interval away.
  constexpr int points = 20000;
  double sum = 0;
  for (int i = 0; i < points; ++i) {
    const double t = std::numbers::pi * (i + 0.5) / points;
    const double lambda = std::clamp(w.middle + w.half * std::cos(t), 0.0, 1.0);
    const double sine = w.half * std::sin(t);
    const double below_one = 1 - lambda;
    if (lambda > 0 && below_one > 0) sum += std::sqrt(lambda) * sine * sine / (lambda * below_one);
  }
  const double spread = sum / (2 * w.small * points); // pi of the step and of the density cancel
  return spread + std::max(0.0, w.small + w.large - 1) / w.small;
}

Moments absolute_correlation(Index m) {
  const double variance = 1.0 / static_cast<double>(m - 1);
  return {std::sqrt(2 * variance / std::numbers::pi), std::sqrt(variance * (1 - 2 / std::numbers::pi))};
}

Moments rv_moments(Index m, const GramMoments& x, const GramMoments& y) {
  const auto n = static_cast<double>(m);
  const auto beta = [](const GramMoments& side) { return side.trace * side.trace / side.squares; };
  const auto tau = [&](const GramMoments& side) {
    return (n - 1) / ((n - 3) * (n - 1 - beta(side))) * (n * (n + 1) * side.diagonal / side.squares - (n - 1) * (beta(side) + 2));
  };
  Moments moments{std::sqrt(beta(x) * beta(y)) / (n - 1), nan};
  if (m < 4) return moments;
  const double variance = 2 * (n - 1 - beta(x)) * (n - 1 - beta(y)) / ((n + 1) * (n - 1) * (n - 1) * (n - 2)) *
                          (1 + (n - 3) / (2 * n * (n - 1)) * tau(x) * tau(y));
  moments.sd = variance > 0 ? std::sqrt(variance) : nan;
  moments.skew = rv_skewness(m, x, y, moments);
  return moments;
}

Moments mantel_moments(Index m, const PairSums& a, const PairSums& b) {
  const auto n = static_cast<long double>(m);
  const long double pairs = n * (n - 1);
  const long double mean = static_cast<long double>(a.total) * static_cast<long double>(b.total) / pairs;
  // Of products a_ij a_kl: both indices shared, one, none.
  const auto both = [](const PairSums& s) { return static_cast<long double>(s.squares); };
  const auto one = [](const PairSums& s) { return static_cast<long double>(s.row_squares) - static_cast<long double>(s.squares); };
  const auto none = [](const PairSums& s) {
    return static_cast<long double>(s.total) * static_cast<long double>(s.total) - 4 * static_cast<long double>(s.row_squares) +
           2 * static_cast<long double>(s.squares);
  };
  const long double square =
      2 * both(a) * both(b) / pairs + 4 * one(a) * one(b) / (pairs * (n - 2)) + none(a) * none(b) / (pairs * (n - 2) * (n - 3));
  const long double variance = square - mean * mean;
  return {static_cast<double>(mean), m >= 4 && variance > 0 ? static_cast<double>(std::sqrt(variance)) : nan};
}

double upper_tail(const Moments& moments, double score) {
  if (!(moments.sd > 0) || std::isnan(moments.skew) || std::isnan(score)) return nan;
  const double z = (score - moments.mean) / moments.sd;
  constexpr double as_good_as_normal = 1e-4;
  if (std::abs(moments.skew) < as_good_as_normal) return 0.5 * std::erfc(z / std::numbers::sqrt2);
  const double shape = 4 / (moments.skew * moments.skew);
  const double x = shape + 2 * z / moments.skew; // gamma distributed, from the end that the tail leans away from
  if (x <= 0) return moments.skew > 0 ? 1 : 0;
  return moments.skew > 0 ? boost::math::gamma_q(shape, x) : boost::math::gamma_p(shape, x);
}

} // namespace concord::similarity
