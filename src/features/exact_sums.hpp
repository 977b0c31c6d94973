#pragma once
/// Sums of the values of each feature, and of their squares, that have the same bits in any order and at any number of ranks.
///
/// Fixed point: a feature's step is 2^-70 of the power of two above its largest value, so a sum of 2^40 values is below 2^111. A value
/// of a float's 24 bits loses nothing unless it is 2^-46 of the largest.

#include "concord/comm/session.hpp"
#include "concord/core/index.hpp"

#include <vector>

namespace concord::features {

class ExactSums {
public:
  /// @param largest  of each feature the largest |value| of all that will be added, on any rank. Local.
  explicit ExactSums(const std::vector<float>& largest);
  /// Local.
  void add(std::int32_t feature, float value);
  /// Adds up those of all ranks. Collective over `comm`; once.
  void sum_over(const comm::Communicator& comm);
  /// Local.
  std::vector<double> sums() const { return back(sums_, 1); }
  std::vector<double> squares() const { return back(squares_, 2); }

private:
  __extension__ typedef __int128 Wide;
  static void sum_over(const comm::Communicator& comm, std::vector<Wide>& values);
  std::vector<double> back(const std::vector<Wide>& values, int power) const;
  std::vector<int> exponents_;  ///< largest < 2^exponent
  std::vector<double> factors_; ///< 2^-exponent
  std::vector<Wide> sums_;
  std::vector<Wide> squares_;
};

} // namespace concord::features
