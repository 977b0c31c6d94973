#include "concord/similarity/measures/svcca.hpp"

#include "concord/linalg/dense.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace concord::similarity {

SvccaSide cut(const std::vector<double>& singular_values, Index rank, const SvccaOptions& options) {
  double total = 0;
  for (const double s : singular_values) total += s * s;
  SvccaSide side{0, rank, 0, 0};
  double kept = 0;
  while (side.k < rank) {
    side.variance_before_k = kept / total;
    kept += singular_values[static_cast<std::size_t>(side.k)] * singular_values[static_cast<std::size_t>(side.k)];
    ++side.k;
    side.variance_at_k = kept / total;
    if (options.k > 0 ? side.k == options.k : side.variance_at_k >= options.variance) break;
  }
  return side;
}

double svcca(const std::vector<double>& correlations) {
  return std::accumulate(correlations.begin(), correlations.end(), 0.0) / static_cast<double>(correlations.size());
}

double svcca_squared(const std::vector<double>& c, Index k1, Index k2) {
  double squares = 0;
  for (const double value : c) squares += value * value;
  return squares / static_cast<double>(std::min(k1, k2));
}

double svcca_rank1(const std::vector<double>& c) {
  return std::abs(c.front());
}

double pwcca(const std::vector<double>& c, Index k1, Index k2, const std::vector<double>& loadings, Index d) {
  const Index k = std::min(k1, k2);
  // Canonical variables h_i = U u_i of the smaller view, so <h_i, x_j> = u_i^T (U^T X)_j.
  auto [rho, u] =
      linalg::left_vectors(k1 <= k2 ? linalg::view(c, k1, k2) : linalg::view(linalg::transposed(linalg::view(c, k1, k2)), k2, k1));
  std::vector<double> parts(static_cast<std::size_t>(k * d));
  linalg::transposed_product(linalg::view(u, k, k), linalg::view(loadings, k, d), parts.data(), d);
  double weighted = 0;
  double weights = 0;
  for (Index i = 0; i < k; ++i) {
    double weight = 0;
    for (Index j = 0; j < d; ++j) weight += std::abs(parts[static_cast<std::size_t>(i * d + j)]);
    weighted += weight * rho[static_cast<std::size_t>(i)];
    weights += weight;
  }
  return weights > 0 ? weighted / weights : std::numeric_limits<double>::quiet_NaN();
}

Index forced_ones(Index m, Index k1, Index k2) {
  return std::max<Index>(0, k1 + k2 - (m - 1));
}

} // namespace concord::similarity
