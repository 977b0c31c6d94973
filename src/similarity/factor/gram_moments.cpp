#include "similarity/factor/gram_moments.hpp"

#include "concord/comm/collectives.hpp"
#include "concord/core/at.hpp"
#include "concord/core/philox.hpp"
#include "concord/linalg/dense.hpp"

#include <algorithm>
#include <cmath>

namespace concord::similarity {
namespace {

/// Sum over i != j of W_ij^3, from some rows where there are many.
double off_diagonal_cubes(const comm::Communicator& comm, const Factor& f, const std::vector<double>& weights) {
  constexpr Index most = 1024;
  auto rows = shuffled(f.m, Philox(0, "gram cubes"));
  rows.resize(at(std::min(f.m, most)));
  const auto n = static_cast<Index>(rows.size());
  const auto k = static_cast<Index>(weights.size());
  std::vector<double> scaled(at(n * k), 0.0);
  for (Index i = 0; i < n; ++i) {
    if (rows[at(i)] < f.begin || rows[at(i)] >= f.end) continue;
    for (Index j = 0; j < k; ++j)
      scaled[at(i * k + j)] = std::sqrt(weights[at(j)]) * f.carrier[at((rows[at(i)] - f.begin) * f.carried + j)];
  }
  comm::sum(comm, scaled); // every row has one owner
  std::vector<double> w(at(n * n), 0.0);
  linalg::product_with_transpose(linalg::view(scaled, n, k), linalg::view(scaled, n, k), w.data(), n);
  double cubes = 0;
  for (Index i = 0; i < n; ++i)
    for (Index j = 0; j < n; ++j) cubes += i == j ? 0.0 : std::pow(w[at(i * n + j)], 3);
  const auto pairs = [](Index items) { return static_cast<double>(items) * static_cast<double>(items - 1); };
  return cubes * pairs(f.m) / pairs(n);
}

} // namespace

GramMoments gram_moments(const comm::Communicator& comm, const Factor& f, const std::vector<double>& weights) {
  if (weights.empty() || f.m < 2) return {};
  const auto k = static_cast<Index>(weights.size());
  std::vector<double> sums(at(3 + k), 0.0); // of W_ii^2, W_ii^3, W_ii (W^2)_ii, and U^T diag(W)
  for (Index i = 0; i < f.end - f.begin; ++i) {
    const double* row = f.carrier.data() + i * f.carried;
    double diagonal = 0;
    double square = 0;
    for (Index j = 0; j < k; ++j) {
      diagonal += row[j] * row[j] * weights[at(j)];
      square += row[j] * row[j] * weights[at(j)] * weights[at(j)];
    }
    sums[0] += diagonal * diagonal;
    sums[1] += diagonal * diagonal * diagonal;
    sums[2] += diagonal * square;
    for (Index j = 0; j < k; ++j) sums[at(3 + j)] += row[j] * diagonal;
  }
  comm::sum(comm, sums);
  GramMoments g{0, 0, sums[0], 0, sums[1], 0, sums[2], 0};
  for (Index j = 0; j < k; ++j) {
    const double w = weights[at(j)];
    g.trace += w;
    g.squares += w * w;
    g.cubes += w * w * w;
    g.diagonal_form += w * sums[at(3 + j)] * sums[at(3 + j)];
  }
  g.entry_cubes = g.diagonal_cubes + off_diagonal_cubes(comm, f, weights);
  return g;
}

} // namespace concord::similarity
