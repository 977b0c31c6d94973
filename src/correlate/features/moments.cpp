#include "correlate/features/moments.hpp"

#include "concord/core/at.hpp"

#include <limits>

namespace concord::correlate {
namespace {

void add_dense_moments(const Share& share, Index width, Moments& moments) {
  for (Index j = 0; j < share.dense; ++j) {
    const double pilot = share.pilots[at(j)];
    const float* value = share.strips.at(j / width, 0) + j % width;
    double sum = moments.sum[at(j)];
    double squares = moments.squares[at(j)];
    for (Index t = 0; t < share.rows; ++t) {
      const double x = static_cast<double>(value[t * width]) - pilot;
      sum += x;
      squares += x * x;
    }
    moments.sum[at(j)] = sum;
    moments.squares[at(j)] = squares;
  }
}

} // namespace

void Moments::add(const PostingShare& share) {
  add_dense_moments(share, strip_a, *this);
  for (Index j = share.dense; j < share.size(); ++j) {
    double here = sum[at(j)];
    double squares_here = squares[at(j)];
    for (Index p = share.begin[at(j - share.dense)]; p < share.begin[at(j - share.dense) + 1]; ++p) {
      const double x = share.postings[at(p)].value;
      here += x;
      squares_here += x * x;
    }
    sum[at(j)] = here;
    squares[at(j)] = squares_here;
  }
}

void Moments::add(const RowShare& share) {
  add_dense_moments(share, strip_b, *this);
  for (const auto& block : share.blocks)
    for (Index t = 0; t < share.rows; ++t) {
      const BlockRow row = block.row(t);
      for (std::uint32_t e = 0; e < row.count; ++e) {
        const double x = row.values[e];
        const auto j = at(block.sparse + row.places()[e]);
        sum[j] += x;
        squares[j] += x * x;
      }
    }
}

void Moments::finish(Index rows) {
  const auto n = static_cast<double>(rows);
  inverse.resize(sum.size());
  for (std::size_t j = 0; j < sum.size(); ++j) {
    const double whole = n * squares[j];
    const double variance = whole - sum[j] * sum[j];
    // What is left of a constant feature is rounding of two equal numbers.
    inverse[j] = variance > whole * n * 1e-16 + 1e-300 ? 1.0 / std::sqrt(variance) : std::numeric_limits<double>::quiet_NaN();
  }
}

} // namespace concord::correlate
