#pragma once
/// Mutual k-nearest neighbours (Huh et al. 2024): the mean share of an item's k nearest that are the same in both spaces. Local.
/// Chance gives k / (M - 1) exactly.

#include "concord/core/index.hpp"

#include <cstdint>
#include <vector>

namespace concord::similarity {

/// Nearest neighbours of every item, [M, k], each row ascending by number.
struct Neighbours {
  Index k = 0;
  std::vector<std::int32_t> items;
  Index rows() const { return k == 0 ? 0 : static_cast<Index>(items.size()) / k; }
};

/// Item i of x is item order[i] of y.
double mutual_knn(const Neighbours& x, const Neighbours& y, const std::vector<Index>& order);

} // namespace concord::similarity
