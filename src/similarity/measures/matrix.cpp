#include "concord/similarity/measures/matrix.hpp"

#include <algorithm>
#include <cmath>
#include <span>

namespace concord::similarity {
namespace {

template <typename T>
std::vector<T> gathered(std::span<const T> values, Index cols, const std::vector<Index>& places) {
  std::vector<T> out;
  if (values.empty()) return out;
  out.reserve(places.size() * static_cast<std::size_t>(cols));
  for (const Index r : places) out.insert(out.end(), values.begin() + r * cols, values.begin() + (r + 1) * cols);
  return out;
}

} // namespace

void Matrix::copy_rows(Index begin, Index count, double* out) const {
  for (Index i = begin; i < begin + count; ++i, out += cols)
    if (singles.empty())
      std::copy_n(values.begin() + place(i) * cols, cols, out);
    else
      std::copy_n(singles.begin() + place(i) * cols, cols, out);
}

Matrix Matrix::rows_of(const std::vector<Index>& order) const {
  std::vector<Index> places;
  places.reserve(order.size());
  for (const Index i : order) places.push_back(place(i));
  if (singles.on_node()) return {static_cast<Index>(order.size()), cols, {}, singles, std::move(places)};
  return {static_cast<Index>(order.size()), cols, gathered(std::span<const double>(values), cols, places),
          gathered(singles.values(), cols, places)};
}

std::vector<double> Matrix::row_norms() const {
  std::vector<double> norms(static_cast<std::size_t>(rows), 0.0);
  for (Index i = 0; i < rows; ++i) {
    double squares = 0;
    for (Index c = 0; c < cols; ++c) squares += at(i, c) * at(i, c);
    norms[static_cast<std::size_t>(i)] = std::sqrt(squares);
  }
  return norms;
}

Index Matrix::first_bad_row() const {
  for (Index i = 0; i < rows; ++i)
    for (Index c = 0; c < cols; ++c)
      if (!std::isfinite(at(i, c))) return i;
  return -1;
}

} // namespace concord::similarity
