#include "concord/agreement/ranks.hpp"

#include "concord/core/index.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>

namespace concord::agreement {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

using Coefficients = std::array<double, 8>; ///< of ascending powers

double polynomial(const Coefficients& c, double x) {
  double sum = 0;
  for (std::size_t i = c.size(); i-- > 0;) sum = sum * x + c[i];
  return sum;
}

/// Numerators and denominators of AS 241: |p - 1/2| <= 0.425, r <= 5 and r > 5 for r = sqrt(-ln(min(p, 1 - p))).
constexpr Coefficients middle_over{3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
                                   4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3};
constexpr Coefficients middle_under{1.0,
                                    4.2313330701600911252e1,
                                    6.8718700749205790830e2,
                                    5.3941960214247511077e3,
                                    2.1213794301586595867e4,
                                    3.9307895800092710610e4,
                                    2.8729085735721942674e4,
                                    5.2264952788528545610e3};
constexpr Coefficients near_over{1.42343711074968357734e0, 4.63033784615654529590e0,  5.76949722146069140550e0,  3.64784832476320460504e0,
                                 1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4};
constexpr Coefficients near_under{1.0,
                                  2.05319162663775882187e0,
                                  1.67638483018380384940e0,
                                  6.89767334985100004550e-1,
                                  1.48103976427480074590e-1,
                                  1.51986665636164571966e-2,
                                  5.47593808499534494600e-4,
                                  1.05075007164441684324e-9};
constexpr Coefficients far_over{6.65790464350110377720e0,  5.46378491116411436990e0,  1.78482653991729133580e0,  2.96560571828504891230e-1,
                                2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7};
constexpr Coefficients far_under{1.0,
                                 5.99832206555887937690e-1,
                                 1.36929880922735805310e-1,
                                 1.48753612908506148525e-2,
                                 7.86869131145613259100e-4,
                                 1.84631831751005468180e-5,
                                 1.42151175831644588870e-7,
                                 2.04426310338993978564e-15};

} // namespace

std::vector<double> average_ranks(const std::vector<double>& values) {
  for (const double v : values) require(!std::isnan(v), ExitCode::bad_data, "a value to be ranked is not a number");
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t i, std::size_t j) { return values[i] < values[j]; });
  std::vector<double> ranks(values.size());
  for (std::size_t begin = 0; begin < order.size();) {
    std::size_t end = begin + 1;
    while (end < order.size() && values[order[end]] == values[order[begin]]) ++end;
    const double rank = 0.5 * static_cast<double>(begin + 1 + end);
    for (; begin < end; ++begin) ranks[order[begin]] = rank;
  }
  return ranks;
}

double inverse_normal(double p) {
  if (!(p >= 0 && p <= 1)) return nan;
  const double from_half = p - 0.5;
  if (std::abs(from_half) <= 0.425) {
    const double r = 0.180625 - from_half * from_half;
    return from_half * polynomial(middle_over, r) / polynomial(middle_under, r);
  }
  const double tail = from_half < 0 ? p : 1 - p;
  if (tail == 0) return from_half < 0 ? -infinity : infinity;
  const double r = std::sqrt(-std::log(tail));
  const double z = r <= 5 ? polynomial(near_over, r - 1.6) / polynomial(near_under, r - 1.6)
                          : polynomial(far_over, r - 5) / polynomial(far_under, r - 5);
  return from_half < 0 ? -z : z;
}

double normal_upper_tail(double z) {
  return 0.5 * std::erfc(z / std::numbers::sqrt2);
}

std::vector<double> normal_scores(const std::vector<double>& values) {
  auto scores = average_ranks(values);
  const auto n = static_cast<double>(values.size());
  for (double& score : scores) score = inverse_normal((score - 0.5) / n);
  return scores;
}

double pearson(const std::vector<double>& x, const std::vector<double>& y) {
  require(x.size() == y.size(), ExitCode::internal, "a correlation of {} with {} values", x.size(), y.size());
  const auto n = static_cast<double>(x.size());
  const double mean_x = std::accumulate(x.begin(), x.end(), 0.0) / n;
  const double mean_y = std::accumulate(y.begin(), y.end(), 0.0) / n;
  double xx = 0, yy = 0, xy = 0, size_x = 0, size_y = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double dx = x[i] - mean_x;
    const double dy = y[i] - mean_y;
    xx += dx * dx;
    yy += dy * dy;
    xy += dx * dy;
    size_x += x[i] * x[i];
    size_y += y[i] * y[i];
  }
  constexpr double rounding = 1e-28; // squared: what is left of a constant after its mean
  if (!(xx > rounding * size_x) || !(yy > rounding * size_y)) return nan;
  return xy / (std::sqrt(xx) * std::sqrt(yy));
}

double spearman(const std::vector<double>& x, const std::vector<double>& y) {
  return pearson(average_ranks(x), average_ranks(y));
}

double spearman_brown(double r) {
  return r > -1 ? 2 * r / (1 + r) : nan;
}

double trimmed_mean(std::vector<double> values, double share) {
  const auto n = static_cast<Index>(values.size());
  const auto cut = static_cast<Index>(share * static_cast<double>(n));
  if (n - 2 * cut <= 0) return nan;
  std::sort(values.begin(), values.end());
  return std::accumulate(values.begin() + cut, values.end() - cut, 0.0) / static_cast<double>(n - 2 * cut);
}

double quantile(std::vector<double> values, double q) {
  if (values.empty()) return nan;
  std::sort(values.begin(), values.end());
  const double place = std::clamp(q, 0.0, 1.0) * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (place - static_cast<double>(below)) * (values[above] - values[below]);
}

} // namespace concord::agreement
