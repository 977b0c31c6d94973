#include "similarity/factor/third_moment.hpp"

#include "concord/linalg/dense.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace concord::similarity {
namespace {

using Real = long double;
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

/// m (m - 1) ... of so many factors.
Real falling(Index m, int factors) {
  Real product = 1;
  for (int i = 0; i < factors; ++i) product *= static_cast<Real>(m - i);
  return product;
}

double skewness(Real third, Real mean, Real sd) {
  const Real central = third - 3 * mean * sd * sd - mean * mean * mean;
  return sd > 0 ? static_cast<double>(central / (sd * sd * sd)) : nan;
}

/// The eight sums of third degree of one side: S3, U, B, R, T S2, T^3, T T2, T3 of Kazi-Aoual et al. 1995.
std::array<Real, 8> rv_sums(const GramMoments& g) {
  const Real t = g.trace;
  return {g.diagonal_cubes, g.entry_cubes, g.diagonal_form, g.diagonal_squares, t * g.diagonal, t * t * t, t * g.squares, g.cubes};
}

/// Their weights in n (n - 1) ... (n - 5) E(tr(X X^T P Y Y^T P^T)^3): above the diagonal for both orders, so twice what stands there.
std::array<std::array<Real, 8>, 8> rv_weights(Real n) {
  const Real n2 = n * n;
  const Real n3 = n2 * n;
  const Real n4 = n3 * n;
  const Real c = n2 - n + 4;
  const Real d = n * (n - 1) * (n - 1) * (n + 4);
  const Real e = n * (n - 1) * (n - 2);
  return {{{n2 * (n + 1) * (n2 + 15 * n - 4), -4 * n * (n - 1) * c, -6 * n * (n - 1) * c, -12 * d, -3 * d, 2 * e, 12 * e, 16 * e},
           {0, 4 * (n4 - 8 * n3 + 19 * n2 - 4 * n - 16), 24 * (n2 - n - 4), 24 * (n3 - 3 * n2 - 2 * n + 8), 12 * c, -16,
            -12 * (n2 - 5 * n + 8), -8 * (3 * n2 - 15 * n + 16)},
           {0, 0, 6 * (n4 - 8 * n3 + 21 * n2 - 6 * n - 24), 24 * (n3 - 2 * n2 - 3 * n + 12), 6 * (2 * n3 - 7 * n2 - 3 * n + 12),
            -6 * (n2 - 5 * n + 4), -24 * (n2 - 5 * n + 6), -24 * (n2 - 5 * n + 8)},
           {0, 0, 0, 12 * (n4 - n3 - 8 * n2 + 36 * n - 48), 12 * (n3 - 2 * n2 + 9 * n - 12), -24 * (n - 2),
            -12 * (n - 2) * (n2 - 5 * n + 12), -24 * (n - 2) * (n2 - 5 * n + 8)},
           {0, 0, 0, 0, 3 * (n4 - 4 * n3 - 2 * n2 + 9 * n - 12), -3 * (n - 2) * (n2 - 5 * n + 2), -6 * (n - 2) * (n2 - 5 * n + 6),
            -48 * (n - 2)},
           {0, 0, 0, 0, 0, n3 - 9 * n2 + 23 * n - 14, 6 * (n - 4), 8},
           {0, 0, 0, 0, 0, 0, 6 * (n3 - 9 * n2 + 24 * n - 14), 24 * (n - 3)},
           {0, 0, 0, 0, 0, 0, 0, 8 * (n3 - 9 * n2 + 26 * n - 22)}}};
}

/// Sums over all choices of different items of products of three entries of a symmetric matrix without a diagonal, by what the entries
/// share: one pair thrice, a pair twice and a neighbour, a pair twice and another, a triangle, a star, a path, a path of two and a pair,
/// three pairs.
constexpr int pictures = 8;
constexpr std::array<int, pictures> items_of{2, 3, 4, 3, 4, 4, 5, 6};
constexpr std::array<Real, pictures> orders_of{4, 24, 6, 8, 8, 24, 12, 1}; ///< in how many ways three ordered pairs make one

std::array<Real, pictures> picture_sums(Index m, const std::vector<double>& a) {
  std::vector<double> product(a.size());
  linalg::product_with_transpose(linalg::view(a, m, m), linalg::view(a, m, m), product.data(), m); // A A^T = A^2
  Real total = 0, squares = 0, cubes = 0, rows2 = 0, rows3 = 0, mixed = 0, form = 0, triangles = 0;
  std::vector<Real> rows(static_cast<std::size_t>(m), 0);
  const auto row_of = [&](Index i) { return a.data() + i * m; };
  for (Index i = 0; i < m; ++i)
    for (Index j = 0; j < m; ++j) rows[static_cast<std::size_t>(i)] += row_of(i)[j];
  for (Index i = 0; i < m; ++i) {
    Real row_squares = 0;
    Real weighted = 0;
    for (Index j = 0; j < m; ++j) {
      const Real value = row_of(i)[j];
      row_squares += value * value;
      cubes += value * value * value;
      weighted += value * rows[static_cast<std::size_t>(j)];
      triangles += value * product[static_cast<std::size_t>(i * m + j)];
    }
    const Real row = rows[static_cast<std::size_t>(i)];
    total += row;
    squares += row_squares;
    rows2 += row * row;
    rows3 += row * row * row;
    mixed += row_squares * row;
    form += row * weighted;
  }
  std::array<Real, pictures> s{};
  s[0] = cubes;
  s[1] = mixed - cubes;
  s[2] = squares * total - 4 * mixed + 2 * cubes;
  s[3] = triangles;
  s[4] = rows3 - 3 * mixed + 2 * cubes;
  s[5] = form - 2 * mixed + cubes - triangles;
  s[6] = total * (rows2 - squares) - 2 * (rows3 - mixed) - 4 * (form - mixed) + 4 * s[1] + 2 * triangles;
  s[7] = total * total * total;
  for (std::size_t p = 0; p + 1 < pictures; ++p) s[7] -= orders_of[p] * s[p];
  return s;
}

/// Off-diagonal entries less their mean.
std::vector<double> centred(Index m, const std::vector<double>& a) {
  Real total = 0;
  for (Index i = 0; i < m; ++i)
    for (Index j = 0; j < m; ++j)
      if (i != j) total += a[static_cast<std::size_t>(i * m + j)];
  const auto mean = static_cast<double>(total / falling(m, 2));
  std::vector<double> out(a.size(), 0.0);
  for (Index i = 0; i < m; ++i)
    for (Index j = 0; j < m; ++j)
      if (i != j) out[static_cast<std::size_t>(i * m + j)] = a[static_cast<std::size_t>(i * m + j)] - mean;
  return out;
}

PairSums pair_sums(Index m, const std::vector<double>& a) {
  PairSums sums;
  for (Index i = 0; i < m; ++i) {
    double row = 0;
    for (Index j = 0; j < m; ++j) {
      const double value = a[static_cast<std::size_t>(i * m + j)];
      row += value;
      sums.squares += value * value;
    }
    sums.total += row;
    sums.row_squares += row * row;
  }
  return sums;
}

/// Mean of C_kappa(B) for B of the matrix law beta(a, b - a) of size m: C_kappa(I_m) (a)_kappa / (b)_kappa, for partitions kappa of 3, of
/// which (tr B)^3 is the sum.
Real zonal_mean(const std::array<int, 3>& kappa, Real m, Real a, Real b) {
  const auto shifted = [&](Real x) {
    Real product = 1;
    for (int i = 0; i < 3; ++i)
      for (int j = 0; j < kappa[static_cast<std::size_t>(i)]; ++j) product *= x - Real(0.5) * i + j;
    return product;
  };
  int parts = 0;
  while (parts < 3 && kappa[static_cast<std::size_t>(parts)] > 0) ++parts;
  const auto factorial = [](int n) { return std::tgamma(static_cast<Real>(n) + 1); };
  Real of_unit = std::exp2(Real(6)) * factorial(3) * shifted(m / 2);
  for (int i = 0; i < parts; ++i) {
    const auto ki = kappa[static_cast<std::size_t>(i)];
    for (int j = i + 1; j < parts; ++j) of_unit *= static_cast<Real>(2 * ki - 2 * kappa[static_cast<std::size_t>(j)] - i + j);
    of_unit /= factorial(2 * ki + parts - i - 1);
  }
  return of_unit * shifted(a) / shifted(b);
}

} // namespace

double rv_skewness(Index m, const GramMoments& x, const GramMoments& y, const Moments& moments) {
  if (m < 6 || !(moments.sd > 0)) return nan;
  const auto of_x = rv_sums(x);
  const auto of_y = rv_sums(y);
  const auto weights = rv_weights(static_cast<Real>(m));
  Real third = 0;
  for (std::size_t i = 0; i < 8; ++i) {
    third += weights[i][i] * of_x[i] * of_y[i];
    for (std::size_t j = i + 1; j < 8; ++j) third += weights[i][j] * (of_x[i] * of_y[j] + of_x[j] * of_y[i]);
  }
  const Real scale = std::sqrt(static_cast<Real>(x.squares)) * std::sqrt(static_cast<Real>(y.squares));
  return skewness(third / falling(m, 6) / (scale * scale * scale), moments.mean, moments.sd);
}

double mantel_skewness(Index m, const std::vector<double>& a, const std::vector<double>& b) {
  if (m < 6) return nan;
  const auto mine = centred(m, a);
  const auto its = centred(m, b);
  const auto of_a = picture_sums(m, mine);
  const auto of_b = picture_sums(m, its);
  Real third = 0;
  for (std::size_t p = 0; p < pictures; ++p) third += orders_of[p] * of_a[p] * of_b[p] / falling(m, items_of[p]);
  const auto moments = mantel_moments(m, pair_sums(m, mine), pair_sums(m, its));
  return skewness(third, moments.mean, moments.sd);
}

Moments random_subspaces(Index d, Index k1, Index k2) {
  const auto n = static_cast<Real>(d);
  const auto a = static_cast<Real>(std::max(k1, k2));
  const auto b = static_cast<Real>(std::min(k1, k2));
  const Real mean = a * b / n;
  const Real sd = std::sqrt(2 * a * b * (n - a) * (n - b) / (n * n * (n - 1) * (n + 2)));
  Real third = zonal_mean({3, 0, 0}, b, a / 2, n / 2);
  if (b >= 2) third += zonal_mean({2, 1, 0}, b, a / 2, n / 2);
  if (b >= 3) third += zonal_mean({1, 1, 1}, b, a / 2, n / 2);
  return {static_cast<double>(mean / b), static_cast<double>(sd / b), skewness(third, mean, sd)};
}

} // namespace concord::similarity
