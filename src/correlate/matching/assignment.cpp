#include "correlate/matching/assignment.hpp"

#include "concord/core/at.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <queue>
#include <tuple>

namespace concord::correlate {
namespace {

constexpr double unit = 0x1p40; ///< gains are integers of this fraction

/// Least-cost assignment of A's features to B's or to a place of their own that costs nothing; cost = -(r - floor).
class ShortestPaths {
public:
  ShortestPaths(const std::vector<Edge>& edges, Index features_a, Index features_b, double floor)
      : begin_(at(features_a) + 1, 0), u_(at(features_a), 0), v_(at(features_b), 0), b_of_(at(features_a), -1), arc_of_(at(features_b), -1),
        distance_(at(features_b), 0), seen_(at(features_b), -1), from_(at(features_b), -1) {
    std::vector<std::size_t> order;
    for (std::size_t e = 0; e < edges.size(); ++e)
      if (edges[e].r > floor) order.push_back(e);
    std::sort(order.begin(), order.end(),
              [&](auto x, auto y) { return std::tie(edges[x].a, edges[x].b) < std::tie(edges[y].a, edges[y].b); });
    for (const auto e : order) {
      arcs_.push_back({edges[e].a, edges[e].b, -std::llround((edges[e].r - floor) * unit), static_cast<Index>(e)});
      ++begin_[at(edges[e].a) + 1];
    }
    std::partial_sum(begin_.begin(), begin_.end(), begin_.begin());
  }

  void run(const comm::StopWithin* stop) {
    for (Index a = 0; a < static_cast<Index>(u_.size()); ++a) {
      if (stop != nullptr && stop->wanted_here()) return;
      insert(a);
    }
  }

  OptimalMatching result() const {
    OptimalMatching m;
    for (const Index arc : arc_of_) m.edge_of_b.push_back(arc < 0 ? -1 : arcs_[at(arc)].edge);
    for (const Index u : u_) m.dual_a.push_back(static_cast<double>(-u) / unit);
    for (const Index v : v_) m.dual_b.push_back(static_cast<double>(-v) / unit);
    Index total = 0;
    for (const Index arc : arc_of_) total -= arc < 0 ? 0 : arcs_[at(arc)].cost;
    m.total = static_cast<double>(total) / unit;
    return m;
  }

private:
  struct Arc {
    std::int32_t a;
    std::int32_t b;
    Index cost;
    Index edge;
  };
  using Reached = std::pair<Index, std::int32_t>; ///< distance, feature of B

  /// Matches `start` along the cheapest path: to a free feature of B, or with some feature of A on the path going to its own place.
  void insert(Index start) {
    for (Index arc = begin_[at(start)]; arc < begin_[at(start) + 1]; ++arc)
      u_[at(start)] = std::min(u_[at(start)], arcs_[at(arc)].cost - v_[at(arcs_[at(arc)].b)]);
    std::priority_queue<Reached, std::vector<Reached>, std::greater<>> queue;
    std::vector<std::pair<Index, Index>> tree{{start, 0}}; // features of A and their distances
    Index shortest = -u_[at(start)];
    Index end_a = start; // goes to its own place, unless
    Index end_b = -1;    // a free feature of B is nearer
    relax(start, 0, start, queue);
    while (!queue.empty()) {
      const auto [distance, b] = queue.top();
      queue.pop();
      if (distance >= shortest) break;
      if (distance != distance_[at(b)]) continue; // reached on a shorter way since
      if (arc_of_[at(b)] < 0) {
        shortest = distance;
        end_b = b;
        break;
      }
      const Index a = arcs_[at(arc_of_[at(b)])].a;
      tree.emplace_back(a, distance);
      if (distance - u_[at(a)] < shortest) {
        shortest = distance - u_[at(a)];
        end_a = a;
      }
      relax(a, distance, start, queue);
    }
    for (const auto& [a, distance] : tree) {
      if (distance >= shortest) continue;
      u_[at(a)] += shortest - distance;
      if (a != start) v_[at(b_of_[at(a)])] += distance - shortest;
    }
    augment(start, end_a, end_b);
  }

  void relax(Index a, Index distance, Index start, std::priority_queue<Reached, std::vector<Reached>, std::greater<>>& queue) {
    for (Index arc = begin_[at(a)]; arc < begin_[at(a) + 1]; ++arc) {
      const auto b = arcs_[at(arc)].b;
      const Index longer = distance + arcs_[at(arc)].cost - u_[at(a)] - v_[at(b)];
      if (seen_[at(b)] == start && distance_[at(b)] <= longer) continue;
      seen_[at(b)] = start;
      distance_[at(b)] = longer;
      from_[at(b)] = arc;
      queue.emplace(longer, b);
    }
  }

  void augment(Index start, Index end_a, Index end_b) {
    Index b = end_b;
    if (b < 0) {
      b = b_of_[at(end_a)]; // what it leaves free
      b_of_[at(end_a)] = -1;
      if (end_a == start) return;
    }
    while (true) {
      const Index arc = from_[at(b)];
      const Index a = arcs_[at(arc)].a;
      const Index left = b_of_[at(a)];
      arc_of_[at(b)] = arc;
      b_of_[at(a)] = b;
      if (a == start) return;
      b = left;
    }
  }

  std::vector<Index> begin_; ///< arcs of each feature of A
  std::vector<Arc> arcs_;
  std::vector<Index> u_, v_;
  std::vector<Index> b_of_;   ///< of each feature of A; -1: its own place
  std::vector<Index> arc_of_; ///< of each feature of B; -1: free
  std::vector<Index> distance_, seen_, from_;
};

} // namespace

std::vector<Index> greedy_matching(const std::vector<Edge>& edges, Index features_a, Index features_b) {
  std::vector<std::size_t> order(edges.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](auto x, auto y) {
    return std::tuple(-edges[x].r, edges[x].a, edges[x].b) < std::tuple(-edges[y].r, edges[y].a, edges[y].b);
  });
  std::vector<std::uint8_t> taken(at(features_a), 0);
  std::vector<Index> edge_of_b(at(features_b), -1);
  for (const auto e : order) {
    if (taken[at(edges[e].a)] != 0 || edge_of_b[at(edges[e].b)] >= 0) continue;
    taken[at(edges[e].a)] = 1;
    edge_of_b[at(edges[e].b)] = static_cast<Index>(e);
  }
  return edge_of_b;
}

OptimalMatching optimal_matching(const std::vector<Edge>& edges, Index features_a, Index features_b, double floor,
                                 const comm::StopWithin* stop) {
  ShortestPaths paths(edges, features_a, features_b, floor);
  paths.run(stop);
  return paths.result();
}

} // namespace concord::correlate
