#include "concord/similarity/measures/mutual_knn.hpp"

namespace concord::similarity {

double mutual_knn(const Neighbours& x, const Neighbours& y, const std::vector<Index>& order) {
  const Index m = x.rows();
  std::vector<std::int32_t> seen(static_cast<std::size_t>(m), -1); // which item of x last had this item of y as a neighbour
  Index shared = 0;
  for (Index i = 0; i < m; ++i) {
    const auto* of_y = y.items.data() + order[static_cast<std::size_t>(i)] * y.k;
    for (Index n = 0; n < y.k; ++n) seen[static_cast<std::size_t>(of_y[n])] = static_cast<std::int32_t>(i);
    const auto* of_x = x.items.data() + i * x.k;
    for (Index n = 0; n < x.k; ++n)
      shared += seen[static_cast<std::size_t>(order[static_cast<std::size_t>(of_x[n])])] == static_cast<std::int32_t>(i) ? 1 : 0;
  }
  return static_cast<double>(shared) / static_cast<double>(m * x.k);
}

} // namespace concord::similarity
