#include "concord/similarity/rsa.hpp"

#include "concord/core/error.hpp"
#include "concord/core/log.hpp"
#include "concord/core/philox.hpp"
#include "concord/linalg/decompose.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace concord::similarity {

std::vector<double> average_ranks(const std::vector<double>& values) {
  std::vector<Index> order(values.size());
  std::iota(order.begin(), order.end(), Index{0});
  std::sort(order.begin(), order.end(),
            [&](Index a, Index b) { return values[static_cast<std::size_t>(a)] < values[static_cast<std::size_t>(b)]; });
  std::vector<double> ranks(values.size());
  for (std::size_t begin = 0; begin < order.size();) {
    std::size_t end = begin + 1;
    while (end < order.size() && values[static_cast<std::size_t>(order[end])] == values[static_cast<std::size_t>(order[begin])]) ++end;
    const double rank = 0.5 * static_cast<double>(begin + 1 + end);
    for (; begin < end; ++begin) ranks[static_cast<std::size_t>(order[begin])] = rank;
  }
  return ranks;
}

namespace {

/// Rows centred and of unit norm; a constant row becomes zero (correlation 0 with every other).
std::vector<double> standardised(const Matrix& x) {
  std::vector<double> out(x.values);
  for (Index i = 0; i < x.rows; ++i) {
    double* row = out.data() + i * x.cols;
    double mean = 0;
    for (Index c = 0; c < x.cols; ++c) mean += row[c];
    mean /= static_cast<double>(x.cols);
    double squares = 0;
    for (Index c = 0; c < x.cols; ++c) {
      row[c] -= mean;
      squares += row[c] * row[c];
    }
    const double inverse = squares > 1e-24 * (mean * mean + 1e-300) ? 1.0 / std::sqrt(squares) : 0.0;
    for (Index c = 0; c < x.cols; ++c) row[c] *= inverse;
  }
  return out;
}

/// Centred ranks of the RDM as a full symmetric M x M table with a zero diagonal; `square_sum` over the upper triangle.
struct RankTable {
  std::vector<double> ranks;
  double square_sum = 0;
};

RankTable rank_table(const Matrix& x) {
  const Index m = x.rows;
  const auto unit = standardised(x);
  RankTable table{std::vector<double>(static_cast<std::size_t>(m * m)), 0};
  linalg::product_with_transpose_local(unit.data(), unit.data(), m, m, x.cols, table.ranks.data());
  std::vector<double> entries;
  entries.reserve(static_cast<std::size_t>(m * (m - 1) / 2));
  for (Index i = 0; i < m; ++i)
    for (Index j = i + 1; j < m; ++j) entries.push_back(-std::nearbyint(table.ranks[static_cast<std::size_t>(i * m + j)] * 0x1p40));
  const auto ranks = average_ranks(entries);
  const double centre = 0.5 * static_cast<double>(entries.size() + 1);
  std::size_t e = 0;
  for (Index i = 0; i < m; ++i) {
    table.ranks[static_cast<std::size_t>(i * m + i)] = 0;
    for (Index j = i + 1; j < m; ++j) {
      const double rank = ranks[e++] - centre;
      table.ranks[static_cast<std::size_t>(i * m + j)] = table.ranks[static_cast<std::size_t>(j * m + i)] = rank;
      table.square_sum += rank * rank;
    }
  }
  return table;
}

double spearman(const RankTable& a, const RankTable& b, Index m, const std::vector<Index>& order) {
  double sum = 0;
  for (Index i = 0; i < m; ++i) {
    const double* row_a = a.ranks.data() + i * m;
    const double* row_b = b.ranks.data() + order[static_cast<std::size_t>(i)] * m;
    double row_sum = 0;
    for (Index j = i + 1; j < m; ++j) row_sum += row_a[j] * row_b[order[static_cast<std::size_t>(j)]];
    sum += row_sum;
  }
  return sum / std::sqrt(a.square_sum * b.square_sum);
}

Matrix rows_of(const Matrix& x, const std::vector<Index>& rows) {
  Matrix out{static_cast<Index>(rows.size()), x.cols, {}};
  for (const Index r : rows) out.values.insert(out.values.end(), x.values.begin() + r * x.cols, x.values.begin() + (r + 1) * x.cols);
  return out;
}

} // namespace

Rsa rsa(const comm::Communicator& comm, const Matrix& x, const Matrix& y, const RsaOptions& options, Index permutations,
        std::uint64_t seed) {
  if (x.rows != y.rows)
    throw Error(ExitCode::bad_data, fmt::format("matched rows are needed: {} against {}", x.rows, y.rows), /*agreed=*/true);
  if (x.rows > options.max_features) {
    auto sample = shuffled(x.rows, Philox(seed, "rsa-sample"));
    sample.resize(static_cast<std::size_t>(options.max_features));
    std::sort(sample.begin(), sample.end());
    log_info("RSA: {} of {} matched features, drawn at random (compare.rsa_max_features)", options.max_features, x.rows);
    return rsa(comm, rows_of(x, sample), rows_of(y, sample), options, permutations, seed);
  }
  Rsa result;
  result.features = x.rows;
  if (x.rows < 3) {
    result.measure = undefined(fmt::format("{} matched rows are too few", x.rows));
    return result;
  }
  const RankTable a = rank_table(x);
  const RankTable b = rank_table(y);
  if (a.square_sum == 0 || b.square_sum == 0) {
    result.measure = undefined("an RDM is constant");
    return result;
  }
  const Index m = x.rows;
  std::vector<Index> identity(static_cast<std::size_t>(m));
  std::iota(identity.begin(), identity.end(), Index{0});
  result.measure.score = spearman(a, b, m, identity);
  add_permutation_null(comm, result.measure, m, permutations, seed,
                       [&](const std::vector<Index>& order) { return spearman(a, b, m, order); });
  return result;
}

} // namespace concord::similarity
