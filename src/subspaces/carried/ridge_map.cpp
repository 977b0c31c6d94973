#include "concord/subspaces/carried/ridge_map.hpp"

#include "concord/core/at.hpp"
#include "concord/core/error.hpp"
#include "concord/linalg/dense.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace concord::subspaces {
namespace {

std::vector<double> mean_of(const std::vector<double>& sums, double n) {
  std::vector<double> mean(sums);
  for (double& value : mean) value /= n;
  return mean;
}

/// sum of products / n less the product of the means.
std::vector<double> covariance(const std::vector<double>& products, const std::vector<double>& mean_x, const std::vector<double>& mean_y,
                               double n) {
  std::vector<double> s(products.size());
  for (std::size_t i = 0; i < mean_x.size(); ++i)
    for (std::size_t j = 0; j < mean_y.size(); ++j) s[i * mean_y.size() + j] = products[i * mean_y.size() + j] / n - mean_x[i] * mean_y[j];
  return s;
}

double trace_of_product(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

} // namespace

PairMoments::PairMoments(Index width_x, Index width_y)
    : dx(width_x), dy(width_y), x(at(dx)), y(at(dy)), xx(at(dx * dx)), xy(at(dx * dy)), yy(at(dy * dy)) {}

void PairMoments::add(const std::vector<double>& rows_x, const std::vector<double>& rows_y, Index count) {
  if (count == 0) return;
  const auto of_x = linalg::view(rows_x, count, dx);
  const auto of_y = linalg::view(rows_y, count, dy);
  linalg::transposed_product(of_x, of_x, xx.data(), dx, linalg::Into::sum);
  linalg::transposed_product(of_x, of_y, xy.data(), dy, linalg::Into::sum);
  linalg::transposed_product(of_y, of_y, yy.data(), dy, linalg::Into::sum);
  for (Index i = 0; i < count; ++i) {
    for (Index j = 0; j < dx; ++j) x[at(j)] += rows_x[at(i * dx + j)];
    for (Index j = 0; j < dy; ++j) y[at(j)] += rows_y[at(i * dy + j)];
  }
  n += static_cast<double>(count);
}

Ridge::Ridge(const PairMoments& fit) : dx_(fit.dx), dy_(fit.dy) {
  require(fit.n > 0, ExitCode::bad_data, "a map between two models needs rows to be fitted on");
  mean_x_ = mean_of(fit.x, fit.n);
  mean_y_ = mean_of(fit.y, fit.n);
  vectors_ = covariance(fit.xx, mean_x_, mean_x_, fit.n);
  const auto cross = covariance(fit.xy, mean_x_, mean_y_, fit.n);
  const auto finite = [](const std::vector<double>& values) {
    return std::all_of(values.begin(), values.end(), [](double value) { return std::isfinite(value); });
  };
  require(finite(vectors_) && finite(cross), ExitCode::bad_data, "the rows that a map is fitted on have products that are not finite");
  values_ = linalg::symmetric_eigen(vectors_, dx_);
  rotated_.resize(at(dx_ * dy_));
  linalg::transposed_product(linalg::view(vectors_, dx_, dx_), linalg::view(cross, dx_, dy_), rotated_.data(), dy_);
}

AffineMap Ridge::map(double strength) const {
  double trace = 0;
  for (const double value : values_) trace += std::max(value, 0.0);
  const double added = strength * trace / static_cast<double>(dx_);
  const double least = static_cast<double>(dx_) * std::numeric_limits<double>::epsilon() * (values_.empty() ? 0 : values_[0]);
  auto scaled = rotated_;
  for (Index i = 0; i < dx_; ++i) {
    const double weight = std::max(values_[at(i)], 0.0) + added;
    const double factor = weight > least ? 1 / weight : 0;
    for (Index j = 0; j < dy_; ++j) scaled[at(i * dy_ + j)] *= factor;
  }
  AffineMap map{dx_, dy_, std::vector<double>(at(dy_ * dx_)), mean_y_};
  const auto turned = linalg::transposed(linalg::view(scaled, dx_, dy_)); // [dy, dx] in the basis of eigenvectors
  linalg::product_with_transpose(linalg::view(turned, dy_, dx_), linalg::view(vectors_, dx_, dx_), map.m.data(), dx_);
  for (Index i = 0; i < dy_; ++i)
    for (Index j = 0; j < dx_; ++j) map.b[at(i)] -= map.m[at(i * dx_ + j)] * mean_x_[at(j)];
  return map;
}

double r_squared(const AffineMap& map, const PairMoments& of) {
  if (!(of.n > 0)) return std::numeric_limits<double>::quiet_NaN();
  const auto mean_x = mean_of(of.x, of.n);
  const auto mean_y = mean_of(of.y, of.n);
  const auto xx = covariance(of.xx, mean_x, mean_x, of.n);
  const auto xy = covariance(of.xy, mean_x, mean_y, of.n);
  double variance = 0;
  for (Index i = 0; i < of.dy; ++i) variance += of.yy[at(i * of.dy + i)] / of.n - mean_y[at(i)] * mean_y[at(i)];
  if (!(variance > 0)) return std::numeric_limits<double>::quiet_NaN();
  // mean ||y - M x - b||^2 = tr S_yy - 2 tr M S_xy + tr M S_xx M^T + ||mean_y - M mean_x - b||^2
  std::vector<double> weighted(at(map.dy * map.dx));
  linalg::product(linalg::view(map.m, map.dy, map.dx), linalg::view(xx, map.dx, map.dx), weighted.data(), map.dx);
  const auto yx = linalg::transposed(linalg::view(xy, map.dx, map.dy));
  double error = variance - 2 * trace_of_product(map.m, yx) + trace_of_product(weighted, map.m);
  for (Index i = 0; i < map.dy; ++i) {
    double off = mean_y[at(i)] - map.b[at(i)];
    for (Index j = 0; j < map.dx; ++j) off -= map.m[at(i * map.dx + j)] * mean_x[at(j)];
    error += off * off;
  }
  return 1 - error / variance;
}

ChosenMap choose_map(const PairMoments& fit, const PairMoments& choose) {
  const Ridge ridge(fit);
  ChosenMap best;
  double best_r2 = -std::numeric_limits<double>::infinity();
  for (const double strength : ridge_strengths) {
    const auto map = ridge.map(strength);
    const double r2 = r_squared(map, choose);
    if (!(r2 > best_r2)) continue; // nor NaN
    best_r2 = r2;
    best = {map, strength};
  }
  if (best.map.m.empty()) best.map = ridge.map(best.strength);
  return best;
}

} // namespace concord::subspaces
