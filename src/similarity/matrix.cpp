#include "concord/similarity/matrix.hpp"

#include <algorithm>
#include <cmath>

namespace concord::similarity {
namespace {

template <typename T>
std::vector<T> gathered(const std::vector<T>& values, Index cols, const std::vector<Index>& order) {
  std::vector<T> out;
  if (values.empty()) return out;
  out.reserve(order.size() * static_cast<std::size_t>(cols));
  for (const Index r : order) out.insert(out.end(), values.begin() + r * cols, values.begin() + (r + 1) * cols);
  return out;
}

template <typename T>
Index first_bad(const std::vector<T>& values) {
  const auto bad = std::find_if(values.begin(), values.end(), [](T v) { return !std::isfinite(v); });
  return bad == values.end() ? -1 : bad - values.begin();
}

} // namespace

void Matrix::copy_rows(Index begin, Index count, double* out) const {
  if (singles.empty())
    std::copy_n(values.begin() + begin * cols, count * cols, out);
  else
    std::copy_n(singles.begin() + begin * cols, count * cols, out);
}

Matrix Matrix::rows_of(const std::vector<Index>& order) const {
  return {static_cast<Index>(order.size()), cols, gathered(values, cols, order), gathered(singles, cols, order)};
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
  const Index place = singles.empty() ? first_bad(values) : first_bad(singles);
  return place < 0 ? -1 : place / cols;
}

} // namespace concord::similarity
