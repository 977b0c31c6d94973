#include "similarity/measures/procrustes.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace concord::similarity {

double procrustes(const std::vector<double>& nuclear, double squares_x, double squares_y) {
  return std::min(1.0, std::accumulate(nuclear.begin(), nuclear.end(), 0.0) / std::sqrt(squares_x * squares_y)); // rounding may exceed 1
}

double procrustes_distance(double similarity) {
  return std::sqrt(std::max(0.0, 2 - 2 * similarity));
}

double procrustes_angle(double similarity) {
  return std::acos(std::clamp(similarity, -1.0, 1.0));
}

} // namespace concord::similarity
