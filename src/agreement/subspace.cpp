#include "concord/agreement/subspace.hpp"

#include "concord/core/at.hpp"
#include "concord/linalg/dense.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

namespace concord::agreement {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double eps = std::numeric_limits<double>::epsilon();

void require_finite(const std::vector<double>& values, const char* what) {
  require(std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); }), ExitCode::bad_data,
          "{}: a value is not finite", what);
}

linalg::View view(const Basis& basis) {
  return linalg::view(basis.u, basis.d, basis.k);
}

/// U^T V [k, l].
std::vector<double> cosines(const Basis& u, const Basis& v) {
  require(u.d == v.d, ExitCode::internal, "subspaces of widths {} and {}", u.d, v.d);
  std::vector<double> c(at(u.k * v.k));
  linalg::transposed_product(view(u), view(v), c.data(), v.k);
  return c;
}

std::vector<double> mean_of_rows(const std::vector<double>& rows, Index n, Index d) {
  std::vector<double> mean(at(d), 0.0);
  for (Index i = 0; i < n; ++i)
    for (Index j = 0; j < d; ++j) mean[at(j)] += rows[at(i * d + j)];
  for (double& m : mean) m /= static_cast<double>(n);
  return mean;
}

struct ClassMeans {
  std::vector<double> in, out;
};

ClassMeans class_means(const LabelledRows& data) {
  const auto n = static_cast<Index>(data.in_class.size());
  require(static_cast<Index>(data.rows.size()) == n * data.d, ExitCode::internal, "{} labels of {} values", n, data.rows.size());
  require_finite(data.rows, "rows of a concept and of the rest");
  const auto members = std::count_if(data.in_class.begin(), data.in_class.end(), [](unsigned char z) { return z != 0; });
  require(members > 0 && members < n, ExitCode::bad_data, "{} of {} rows are of the concept: both classes need rows", members, n);
  ClassMeans means{std::vector<double>(at(data.d), 0.0), std::vector<double>(at(data.d), 0.0)};
  for (Index i = 0; i < n; ++i) {
    const bool in = data.in_class[at(i)] != 0;
    auto& mean = in ? means.in : means.out;
    for (Index j = 0; j < data.d; ++j) mean[at(j)] += data.rows[at(i * data.d + j)] / static_cast<double>(in ? members : n - members);
  }
  return means;
}

/// V f(lambda) V^T.
template <typename F>
std::vector<double> of_eigen(const std::vector<double>& vectors, const std::vector<double>& values, F f) {
  const auto d = static_cast<Index>(values.size());
  auto scaled = vectors;
  for (Index i = 0; i < d; ++i)
    for (Index j = 0; j < d; ++j) scaled[at(i * d + j)] *= f(values[at(j)]);
  std::vector<double> out(at(d * d));
  linalg::product_with_transpose(linalg::view(scaled, d, d), linalg::view(vectors, d, d), out.data(), d);
  return out;
}

} // namespace

Basis leading_subspace(const std::vector<double>& x, Index d, Index n, Index k) {
  require(static_cast<Index>(x.size()) == d * n, ExitCode::internal, "a matrix of {} by {} has {} entries", d, n, x.size());
  require_finite(x, "columns that span a subspace");
  Basis basis;
  basis.d = d;
  if (n == 0 || d == 0) return basis;
  const auto left = linalg::left_vectors(linalg::view(x, d, n));
  const double least = left.values.front() * static_cast<double>(std::max(d, n)) * eps;
  const auto rank = std::count_if(left.values.begin(), left.values.end(), [&](double s) { return s > least; });
  basis.k = std::min<Index>(std::max<Index>(0, k), rank);
  const auto stride = static_cast<Index>(left.values.size());
  for (Index i = 0; i < d; ++i)
    for (Index j = 0; j < basis.k; ++j) basis.u.push_back(left.u[at(i * stride + j)]);
  double kept = 0;
  double all = 0;
  for (std::size_t i = 0; i < left.values.size(); ++i) {
    const double square = left.values[i] * left.values[i];
    all += square;
    kept += static_cast<Index>(i) < basis.k ? square : 0;
  }
  basis.variance_share = all > 0 ? kept / all : 0;
  return basis;
}

std::vector<double> principal_angles(const Basis& u, const Basis& v) {
  const auto& wide = u.k >= v.k ? u : v;
  const auto& narrow = u.k >= v.k ? v : u;
  const auto c = cosines(wide, narrow);
  if (narrow.k == 0) return {};
  const auto cosine = linalg::singular_values(c, wide.k, narrow.k); // descending: ascending angles
  // What of the narrow one lies outside the wide one has the sines as its singular values.
  std::vector<double> outside(at(narrow.d * narrow.k));
  linalg::product(view(wide), linalg::view(c, wide.k, narrow.k), outside.data(), narrow.k);
  for (std::size_t i = 0; i < outside.size(); ++i) outside[i] = narrow.u[i] - outside[i];
  const auto sine = linalg::singular_values(outside, narrow.d, narrow.k); // descending: descending angles
  std::vector<double> angles(at(narrow.k));
  for (Index i = 0; i < narrow.k; ++i) {
    const double cos_i = cosine[at(narrow.k - 1 - i)];
    angles[at(i)] = cos_i * cos_i >= 0.5 ? std::asin(std::clamp(sine[at(i)], -1.0, 1.0)) : std::acos(std::clamp(cos_i, -1.0, 1.0));
  }
  return angles;
}

double overlap(const Basis& u, const Basis& v) {
  const Index small = std::min(u.k, v.k);
  const auto c = cosines(u, v);
  return small > 0 ? std::inner_product(c.begin(), c.end(), c.begin(), 0.0) / static_cast<double>(small) : nan;
}

double overlap_excess(const Basis& u, const Basis& v) {
  const double chance = static_cast<double>(std::max(u.k, v.k)) / static_cast<double>(u.d);
  return chance < 1 ? (overlap(u, v) - chance) / (1 - chance) : nan;
}

std::vector<double> difference_of_means(const LabelledRows& data) {
  auto means = class_means(data);
  for (std::size_t j = 0; j < means.in.size(); ++j) means.in[j] -= means.out[j];
  return means.in;
}

Covariance ledoit_wolf(const std::vector<double>& rows, Index n, Index d, bool centred) {
  require(static_cast<Index>(rows.size()) == n * d && n > 0 && d > 0, ExitCode::internal, "{} by {} rows have {} values", n, d,
          rows.size());
  auto x = rows;
  if (!centred) {
    const auto mean = mean_of_rows(rows, n, d);
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j < d; ++j) x[at(i * d + j)] -= mean[at(j)];
  }
  Covariance result;
  result.matrix = linalg::gram(linalg::view(x, n, d));
  const auto count = static_cast<double>(n);
  const auto width = static_cast<double>(d);
  for (double& v : result.matrix) v /= count;
  double trace = 0;
  for (Index j = 0; j < d; ++j) trace += result.matrix[at(j * d + j)];
  const double mu = trace / width;
  const double squares = std::inner_product(result.matrix.begin(), result.matrix.end(), result.matrix.begin(), 0.0);
  double fourth = 0; // sum over rows of ||x||^4, the sum of all entries of (x^2)^T x^2
  for (Index i = 0; i < n; ++i) {
    double norm = 0;
    for (Index j = 0; j < d; ++j) norm += x[at(i * d + j)] * x[at(i * d + j)];
    fourth += norm * norm;
  }
  const double spread = (fourth / count - squares) / (width * count);
  const double distance = (squares - 2 * mu * trace + width * mu * mu) / width;
  const double beta = std::min(spread, distance);
  result.shrinkage = d == 1 || !(beta > 0) ? 0 : beta / distance;
  for (double& v : result.matrix) v *= 1 - result.shrinkage;
  for (Index j = 0; j < d; ++j) result.matrix[at(j * d + j)] += result.shrinkage * mu;
  return result;
}

Lda lda(const LabelledRows& data, double least) {
  const auto means = class_means(data);
  const Index d = data.d;
  const auto n = static_cast<Index>(data.in_class.size());
  auto within = data.rows;
  for (Index i = 0; i < n; ++i)
    for (Index j = 0; j < d; ++j) within[at(i * d + j)] -= (data.in_class[at(i)] != 0 ? means.in : means.out)[at(j)];
  Lda result;
  std::vector<double> covariance;
  if (n < 5 * d) {
    auto shrunk = ledoit_wolf(within, n, d, true);
    result.shrinkage = shrunk.shrinkage;
    covariance = std::move(shrunk.matrix);
  } else {
    covariance = linalg::gram(linalg::view(within, n, d));
    for (double& v : covariance) v /= static_cast<double>(n);
  }
  const auto delta = difference_of_means(data);
  const auto values = linalg::symmetric_eigen(covariance, d); // covariance: eigenvectors
  result.direction.assign(at(d), 0.0);
  for (Index k = 0; k < d; ++k) {
    if (!(values[at(k)] > least * values.front())) {
      ++result.cut;
      continue;
    }
    double share = 0;
    for (Index j = 0; j < d; ++j) share += covariance[at(j * d + k)] * delta[at(j)];
    for (Index j = 0; j < d; ++j) result.direction[at(j)] += covariance[at(j * d + k)] * share / values[at(k)];
  }
  return result;
}

Whitening whitening(const std::vector<double>& covariance, Index d, double least) {
  require(static_cast<Index>(covariance.size()) == d * d && d > 0, ExitCode::internal, "a covariance of width {} has {} entries", d,
          covariance.size());
  require_finite(covariance, "a covariance");
  auto vectors = covariance;
  const auto values = linalg::symmetric_eigen(vectors, d);
  const auto kept = [&](double value) { return value > 0 && value > least * values.front(); };
  Whitening result;
  result.d = d;
  result.cut = d - std::count_if(values.begin(), values.end(), kept);
  result.whiten = of_eigen(vectors, values, [&](double v) { return kept(v) ? 1 / std::sqrt(v) : 0; });
  result.unwhiten = of_eigen(vectors, values, [&](double v) { return kept(v) ? std::sqrt(v) : 0; });
  return result;
}

Basis whitened(const Basis& basis, const Whitening& whitening) {
  require(basis.d == whitening.d, ExitCode::internal, "a subspace of width {} and a whitening of width {}", basis.d, whitening.d);
  std::vector<double> moved(at(basis.d * basis.k));
  linalg::product(linalg::view(whitening.whiten, basis.d, basis.d), view(basis), moved.data(), basis.k);
  return leading_subspace(moved, basis.d, basis.k, basis.k);
}

} // namespace concord::agreement
