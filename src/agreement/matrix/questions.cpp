// What is asked of concept matrices beside their agreement: do the same concepts match, and do pairs near in meaning differ from others?
#include "concord/agreement/matrix/matrix_agreement.hpp"
#include "concord/core/at.hpp"

#include "agreement/matrix/crossing.hpp"
#include <algorithm>
#include <cmath>

namespace concord::agreement {
namespace {

/// Means of the entries (i, order[i]) and of all others, of those that are defined.
struct Means {
  double matched = not_known;
  double rest = not_known;
};

class Matched {
public:
  Matched(const Matrix& matrix, Index concepts) : matrix_(matrix), c_(concepts) {
    for (const double v : matrix_)
      if (!std::isnan(v)) {
        sum_ += v;
        ++count_;
      }
  }
  Means means(const std::vector<Index>& order) const {
    double sum = 0;
    Index count = 0;
    for (Index i = 0; i < c_; ++i) {
      const double v = matrix_[at(i * c_ + order[at(i)])];
      if (std::isnan(v)) continue;
      sum += v;
      ++count;
    }
    if (count == 0 || count == count_) return {};
    return {sum / static_cast<double>(count), (sum_ - sum) / static_cast<double>(count_ - count)};
  }

private:
  const Matrix& matrix_;
  Index c_;
  double sum_ = 0;
  Index count_ = 0;
};

/// Concepts of which neither the row nor the column is wholly undefined, the diagonal included.
std::vector<Index> compared_concepts(const Matrix& matrix, Index c) {
  std::vector<Index> kept;
  for (Index k = 0; k < c; ++k) {
    bool row = false;
    bool column = false;
    for (Index other = 0; other < c; ++other) {
      row = row || !std::isnan(matrix[at(k * c + other)]);
      column = column || !std::isnan(matrix[at(other * c + k)]);
    }
    if (row && column) kept.push_back(k);
  }
  return kept;
}

/// -|z_A - z_B| of each crossing.
std::vector<Matrix> nearness(const MatrixPair& pair) {
  std::vector<Matrix> out;
  for (std::size_t half = 0; half < pair.a.size(); ++half) {
    const auto& a = pair.a[half];
    const auto& b = pair.b[pair.b.size() - 1 - half];
    const auto mask = common_mask(pair.concepts, {&a, &b});
    auto near = masked_scores(a, mask);
    const auto of_b = masked_scores(b, mask);
    for (std::size_t i = 0; i < near.size(); ++i) near[i] = mask[i] != 0 ? -std::abs(near[i] - of_b[i]) : not_known;
    out.push_back(std::move(near));
  }
  return out;
}

} // namespace

Contrast same_concept_contrast(const std::vector<double>& matrix, Index concepts, const std::vector<Index>& groups,
                               const AgreementOptions& options) {
  require(matrix.size() == at(concepts * concepts), ExitCode::internal, "a matrix of {} concepts has {} entries", concepts, matrix.size());
  Contrast result;
  result.kept = compared_concepts(matrix, concepts);
  const auto c = static_cast<Index>(result.kept.size());
  const auto kept = of_concepts(matrix, concepts, result.kept);
  const Matched matched(kept, c);
  const auto observed = matched.means(identity(c));
  result.diagonal = observed.matched;
  result.rest = observed.rest;
  result.contrast = observed.matched - observed.rest;
  double largest = 0;
  for (const double v : kept)
    if (!std::isnan(v)) largest = std::max(largest, std::abs(v));
  const auto test = [&](const std::vector<Index>& kept_groups, PermutationCount& count) {
    const ConceptPermutations permutations(c, kept_groups, options.seed, GroupMoves::inside);
    count = permutations.count(options.permutations);
    Index reached = 0;
    permutations.each(options.permutations, [&](const std::vector<Index>& order) {
      const auto means = matched.means(order);
      reached += !(means.matched - means.rest < result.contrast - 1e-9 * largest) ? 1 : 0; // undefined counts as reached
    });
    return std::isnan(result.contrast) ? not_known : permutation_p(reached, count);
  };
  result.p_free = test({}, result.free_count);
  std::vector<Index> kept_groups;
  kept_groups.reserve(result.kept.size());
  if (!groups.empty())
    for (const Index k : result.kept) kept_groups.push_back(groups[at(k)]);
  if (!kept_groups.empty()) result.p_grouped = test(kept_groups, result.grouped_count);
  return result;
}

SemanticAnswers semantic_answers(const MatrixPair& pair, const std::vector<double>& similarity, const AgreementOptions& options) {
  check(pair);
  const auto on_similarity = [&](const std::vector<Matrix>& matrices) {
    return matrix_agreement({pair.concepts, matrices, std::vector<Matrix>(matrices.size(), similarity), pair.covariates, pair.groups},
                            options);
  };
  auto beside = pair;
  beside.covariates.push_back(similarity);
  return {on_similarity(pair.a), on_similarity(pair.b), on_similarity(nearness(pair)), matrix_agreement(beside, options)};
}

} // namespace concord::agreement
