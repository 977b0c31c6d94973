#include "correlate/sums/found.hpp"

#include "concord/core/at.hpp"
#include "concord/core/machine/threads.hpp"

namespace concord::correlate {
Found::Found(std::size_t features_a, std::size_t features_b, Index best, Index shifts, int threads)
    : best_of_a(static_cast<Index>(features_a), best), best_of_b(at(threads), BestTable(static_cast<Index>(features_b), best)),
      largest_a(at(shifts) * features_a, 0.0), largest_b(at(threads), std::vector<double>(at(shifts) * features_b, 0.0)) {}

void Found::merge_threads() {
  const auto threads = static_cast<int>(best_of_b.size());
  const Index features = best_of_b.front().features();
  constexpr Index block = 256;
  for_each_item((features + block - 1) / block, threads, [&](int, Index i) {
    for (std::size_t thread = 1; thread < best_of_b.size(); ++thread)
      for (Index j = i * block; j < std::min(features, (i + 1) * block); ++j) best_of_b.front().merge(best_of_b[thread], j, j);
  });
  for (std::size_t thread = 1; thread < best_of_b.size(); ++thread) {
    for (std::size_t i = 0; i < largest_b.front().size(); ++i) largest_b.front()[i] = std::max(largest_b.front()[i], largest_b[thread][i]);
  }
}

} // namespace concord::correlate
