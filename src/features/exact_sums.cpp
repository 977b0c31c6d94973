#include "features/exact_sums.hpp"

#include "concord/comm/collectives.hpp"

#include <cmath>

namespace concord::features {
namespace {

constexpr int fraction_bits = 70;

} // namespace

ExactSums::ExactSums(const std::vector<float>& largest)
    : exponents_(largest.size()), factors_(largest.size()), sums_(largest.size()), squares_(largest.size()) {
  for (std::size_t j = 0; j < largest.size(); ++j) {
    std::frexp(largest[j], &exponents_[j]);
    factors_[j] = std::ldexp(1.0, -exponents_[j]);
  }
}

void ExactSums::add(std::int32_t feature, float value) {
  const auto j = static_cast<std::size_t>(feature);
  constexpr double steps = 0x1p70;                                // 2^fraction_bits: products with powers of two lose nothing
  const double scaled = static_cast<double>(value) * factors_[j]; // in (-1, 1)
  sums_[j] += static_cast<Wide>(scaled * steps);
  squares_[j] += static_cast<Wide>(scaled * scaled * steps);
}

void ExactSums::sum_over(const comm::Communicator& comm) {
  sum_over(comm, sums_);
  sum_over(comm, squares_);
}

/// MPI has no integers of 128 bits: three parts of 43 bits leave room for the carries of 2^20 ranks.
void ExactSums::sum_over(const comm::Communicator& comm, std::vector<Wide>& values) {
  constexpr int bits = 43;
  constexpr Wide mask = (Wide{1} << bits) - 1;
  std::vector<Index> parts;
  parts.reserve(3 * values.size());
  for (const Wide value : values)
    for (const Wide part : {value & mask, (value >> bits) & mask, value >> (2 * bits)}) parts.push_back(static_cast<Index>(part));
  comm::sum(comm, parts);
  for (std::size_t j = 0; j < values.size(); ++j)
    values[j] = Wide{parts[3 * j]} + Wide{parts[3 * j + 1]} * (Wide{1} << bits) + Wide{parts[3 * j + 2]} * (Wide{1} << (2 * bits));
}

std::vector<double> ExactSums::back(const std::vector<Wide>& values, int power) const {
  std::vector<double> result;
  result.reserve(values.size());
  for (std::size_t j = 0; j < values.size(); ++j)
    result.push_back(std::ldexp(static_cast<double>(values[j]), power * exponents_[j] - fraction_bits));
  return result;
}

} // namespace concord::features
