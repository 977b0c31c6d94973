#include "subspaces/bases/linear_bases.hpp"

#include "concord/core/at.hpp"
#include "concord/linalg/dense.hpp"

#include <cmath>
#include <numeric>

namespace concord::subspaces {
namespace {

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

std::vector<double> product(const std::vector<double>& matrix, const std::vector<double>& x) {
  const auto d = static_cast<Index>(x.size());
  std::vector<double> out(x.size());
  linalg::product(linalg::view(matrix, d, d), linalg::view(x, d, 1), out.data(), 1);
  return out;
}

Basis of_direction(std::vector<double> direction) {
  const auto d = static_cast<Index>(direction.size());
  const double length = std::sqrt(dot(direction, direction));
  if (!(length > 0)) return {d, 0, {}, 0};
  for (double& value : direction) value /= length;
  return {d, 1, std::move(direction), 1};
}

/// Mean of the concept's rows less that of the others; nothing where one of the two has none, or where they are one but for rounding.
std::vector<double> difference(const RowsOfConcepts& data, std::int32_t number) {
  std::vector<double> means[2] = {std::vector<double>(at(data.d)), std::vector<double>(at(data.d))};
  double counts[2] = {0, 0};
  double squares = 0;
  for (std::size_t i = 0; i < data.concept_number.size(); ++i) {
    const std::size_t own = data.concept_number[i] == number ? 1 : 0;
    ++counts[own];
    for (Index j = 0; j < data.d; ++j) {
      const double value = data.rows[i * at(data.d) + at(j)];
      means[own][at(j)] += value;
      squares += value * value;
    }
  }
  if (counts[0] == 0 || counts[1] == 0) return {};
  std::vector<double> delta(at(data.d));
  for (Index j = 0; j < data.d; ++j) delta[at(j)] = means[1][at(j)] / counts[1] - means[0][at(j)] / counts[0];
  constexpr double rounding = 1e-24;
  if (dot(delta, delta) <= rounding * squares / (counts[0] + counts[1])) return {};
  return delta;
}

/// LEACE of one label: along `delta`, by what LDA reads off.
Basis leace_of(const std::vector<double>& delta, const std::vector<double>& lda, const agreement::Whitening& whitening) {
  const auto seen = product(whitening.unwhiten, product(whitening.whiten, delta)); // what of it was not cut
  Basis basis = of_direction(seen);
  const double read = dot(lda, basis.k > 0 ? basis.u : seen);
  if (basis.k == 0 || !(read > 0)) return {basis.d, 0, {}, 0};
  basis.read = lda;
  for (double& value : basis.read) value /= read;
  return basis;
}

/// Divided by n.
agreement::Covariance plain_covariance(const RowsOfConcepts& data) {
  const auto n = static_cast<Index>(data.concept_number.size());
  std::vector<double> mean(at(data.d));
  auto rows = data.rows;
  for (std::size_t i = 0; i < rows.size(); ++i) mean[i % at(data.d)] += rows[i] / static_cast<double>(n);
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] -= mean[i % at(data.d)];
  agreement::Covariance covariance{linalg::gram(linalg::view(rows, n, data.d)), 0};
  for (double& value : covariance.matrix) value /= static_cast<double>(n);
  return covariance;
}

} // namespace

LayerWhitening layer_whitening(const RowsOfConcepts& data) {
  const auto n = static_cast<Index>(data.concept_number.size());
  const auto covariance = n < 5 * data.d ? agreement::ledoit_wolf(data.rows, n, data.d) : plain_covariance(data);
  return {n, covariance.shrinkage, agreement::whitening(covariance.matrix, data.d)};
}

std::vector<Basis> means_bases(const RowsOfConcepts& rows, const std::vector<bool>& wanted) {
  std::vector<Basis> bases(wanted.size(), Basis{rows.d, 0, {}, 0});
  for (std::size_t c = 0; c < wanted.size(); ++c)
    if (auto delta = wanted[c] ? difference(rows, static_cast<std::int32_t>(c)) : std::vector<double>(); !delta.empty())
      bases[c] = of_direction(std::move(delta));
  return bases;
}

LinearBases linear_bases(const RowsOfConcepts& rows, const LayerWhitening& whitening, const std::vector<bool>& wanted) {
  LinearBases bases;
  bases.means = means_bases(rows, wanted);
  bases.lda.assign(wanted.size(), Basis{rows.d, 0, {}, 0});
  bases.leace = bases.lda;
  for (std::size_t c = 0; c < wanted.size(); ++c) {
    if (bases.means[c].k == 0) continue;
    const auto& delta = bases.means[c].u; // of length 1, which no basis hangs on
    const auto& whiten = whitening.whitening.whiten;
    const auto direction = product(whiten, product(whiten, delta));
    bases.lda[c] = of_direction(direction);
    bases.leace[c] = leace_of(delta, direction, whitening.whitening);
  }
  return bases;
}

} // namespace concord::subspaces
