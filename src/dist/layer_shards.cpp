#include "concord/dist/layer_shards.hpp"

#include <algorithm>
#include <limits>

namespace concord::dist {

std::vector<Index> balanced_cuts(const std::vector<double>& costs, int parts) {
  const std::size_t n = costs.size();
  std::vector<double> before(n + 1, 0.0);
  for (std::size_t i = 0; i < n; ++i) before[i + 1] = before[i] + costs[i];
  // best[i]: the dearest run when the first i items are cut into the runs so far; from[p][i]: where run p then begins.
  std::vector<double> best(n + 1, std::numeric_limits<double>::infinity());
  best[0] = 0;
  std::vector<std::vector<std::size_t>> from;
  for (int p = 0; p < parts; ++p) {
    std::vector<double> next(n + 1, std::numeric_limits<double>::infinity());
    std::vector<std::size_t> begin(n + 1, 0);
    const bool may_be_empty = n < static_cast<std::size_t>(parts);
    for (std::size_t i = 0; i <= n; ++i)
      for (std::size_t j = 0; j <= i; ++j) {
        if (j == i && !may_be_empty) continue;
        const double dearest = std::max(best[j], before[i] - before[j]);
        if (dearest < next[i]) {
          next[i] = dearest;
          begin[i] = j;
        }
      }
    best = std::move(next);
    from.push_back(std::move(begin));
  }
  std::vector<Index> cuts(static_cast<std::size_t>(parts) + 1, static_cast<Index>(n));
  for (std::size_t p = from.size(); p-- > 0;) cuts[p] = static_cast<Index>(from[p][static_cast<std::size_t>(cuts[p + 1])]);
  return cuts;
}

} // namespace concord::dist
