#include "concord/similarity/measure.hpp"

#include "concord/comm/collectives.hpp"
#include "concord/core/philox.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace concord::similarity {

void add_permutation_null(const comm::Communicator& comm, Measure& measure, Index m, Index count, std::uint64_t seed,
                          const std::function<double(const std::vector<Index>&)>& score_of) {
  measure.null.assign(static_cast<std::size_t>(count), 0.0);
  for (Index b = comm.rank(); b < count; b += comm.size())
    measure.null[static_cast<std::size_t>(b)] = score_of(shuffled(m, Philox(seed, "null", static_cast<std::uint64_t>(b))));
  comm::sum(comm, measure.null); // one owner each, the others add exact zeros
  if (count == 0) return;
  double sum = 0;
  Index at_least = 0;
  for (const double value : measure.null) {
    sum += value;
    at_least += value >= measure.score ? 1 : 0;
  }
  measure.null_mean = sum / static_cast<double>(count);
  double squares = 0;
  for (const double value : measure.null) squares += std::pow(value - measure.null_mean, 2);
  measure.null_sd = count > 1 ? std::sqrt(squares / static_cast<double>(count - 1)) : 0.0;
  measure.z = measure.null_sd > 0 ? (measure.score - measure.null_mean) / measure.null_sd : std::numeric_limits<double>::quiet_NaN();
  measure.p = static_cast<double>(1 + at_least) / static_cast<double>(1 + count);
  measure.calibrated =
      measure.null_mean < 1 ? (measure.score - measure.null_mean) / (1 - measure.null_mean) : std::numeric_limits<double>::quiet_NaN();
}

Measure undefined(std::string reason) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  Measure measure;
  measure.reason = std::move(reason);
  measure.score = measure.null_mean = measure.null_sd = measure.z = measure.p = measure.calibrated = nan;
  return measure;
}

} // namespace concord::similarity
