// Difference of means, LDA and LEACE of concepts against module agreement and LEACE by its definition, whose own tests hold them against
// scikit-learn and concept-erasure, and against what defines them.
#include "concord/core/philox.hpp"

#include <gtest/gtest.h>

#include "agreement/leace.hpp"
#include "subspaces/bases/linear_bases.hpp"
#include <cmath>
#include <numeric>

namespace concord::subspaces {
namespace {

constexpr Index d = 6;
constexpr int concepts = 4;

std::size_t at(Index i) {
  return static_cast<std::size_t>(i);
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

/// Correlated rows away from 0, each concept's mean its own; some rows of no concept.
RowsOfConcepts some_rows(Index n) {
  const Philox random(3, "rows");
  RowsOfConcepts data;
  data.d = d;
  for (Index i = 0; i < n; ++i) {
    data.concept_number.push_back(static_cast<std::int32_t>(i % (concepts + 1)) - 1);
    double shared = random.normal(static_cast<std::uint64_t>(1000 + i));
    for (Index j = 0; j < d; ++j) {
      const double own = data.concept_number.back() == j ? 2 : 0;
      data.rows.push_back(3 + own + shared * static_cast<double>(j) + random.normal(static_cast<std::uint64_t>(100'000 + d * i + j)));
    }
  }
  return data;
}

agreement::LabelledRows labelled(const RowsOfConcepts& data, std::int32_t c) {
  agreement::LabelledRows rows{data.d, data.rows, {}};
  for (const auto number : data.concept_number) rows.in_class.push_back(number == c ? 1 : 0);
  return rows;
}

std::vector<double> mean_of(const RowsOfConcepts& data) {
  std::vector<double> mean(at(d));
  for (std::size_t i = 0; i < data.rows.size(); ++i) mean[i % at(d)] += data.rows[i] / static_cast<double>(data.concept_number.size());
  return mean;
}

/// Plainly, divided by n: of the rows with those of `with` (d of them, or 1).
std::vector<double> covariance(const RowsOfConcepts& data, const std::vector<double>& with, std::size_t width) {
  const std::size_t n = data.concept_number.size();
  const auto mean = mean_of(data);
  std::vector<double> mean_with(width);
  for (std::size_t i = 0; i < with.size(); ++i) mean_with[i % width] += with[i] / static_cast<double>(n);
  std::vector<double> out(at(d) * width);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t a = 0; a < at(d); ++a)
      for (std::size_t b = 0; b < width; ++b)
        out[a * width + b] += (data.rows[i * at(d) + a] - mean[a]) * (with[i * width + b] - mean_with[b]) / static_cast<double>(n);
  return out;
}

std::vector<double> labels_of(const RowsOfConcepts& data, std::int32_t c) {
  std::vector<double> labels;
  for (const auto number : data.concept_number) labels.push_back(number == c ? 1 : 0);
  return labels;
}

/// I - u read^T.
std::vector<double> removal(const Basis& basis) {
  std::vector<double> matrix(at(d * d));
  for (Index i = 0; i < d; ++i)
    for (Index j = 0; j < d; ++j) matrix[at(i * d + j)] = (i == j ? 1 : 0) - basis.u[at(i)] * basis.read[at(j)];
  return matrix;
}

const std::vector<bool> all(concepts, true);

TEST(LinearBases, AreThoseOfModuleAgreement) {
  const auto data = some_rows(200);
  const auto whitening = layer_whitening(data);
  EXPECT_EQ(whitening.rows, 200);
  EXPECT_EQ(whitening.shrinkage, 0) << "200 rows in 6 dimensions are enough";
  const auto bases = linear_bases(data, whitening, all);
  const auto alone = means_bases(data, all);
  for (std::int32_t c = 0; c < concepts; ++c) {
    const auto delta = agreement::difference_of_means(labelled(data, c));
    const auto lda = agreement::lda(labelled(data, c)).direction;
    const test::Leace leace(covariance(data, data.rows, at(d)), covariance(data, labels_of(data, c), 1), mean_of(data));
    for (const auto& [basis, direction] : {std::pair{&bases.means[at(c)], &delta}, std::pair{&bases.lda[at(c)], &lda}}) {
      ASSERT_EQ(basis->k, 1);
      EXPECT_TRUE(basis->read.empty());
      EXPECT_NEAR(dot(basis->u, basis->u), 1, 1e-12);
      EXPECT_NEAR(dot(basis->u, *direction) / std::sqrt(dot(*direction, *direction)), 1, 1e-10);
    }
    EXPECT_EQ(alone[at(c)].u, bases.means[at(c)].u);
    const auto found = removal(bases.leace[at(c)]);
    const auto expected = leace.matrix();
    for (std::size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], expected[i], 1e-9);
  }
}

/// With few rows the covariance is shrunk; LDA solves S g = delta all the same, and LEACE leaves no covariance with the label.
TEST(LinearBases, HoldWhatDefinesThemWithFewRows) {
  const auto data = some_rows(20);
  const auto whitening = layer_whitening(data);
  EXPECT_GT(whitening.shrinkage, 0);
  const auto shrunk = agreement::ledoit_wolf(data.rows, 20, d);
  EXPECT_EQ(whitening.shrinkage, shrunk.shrinkage);
  const auto bases = linear_bases(data, whitening, all);
  for (std::int32_t c = 0; c < concepts; ++c) {
    const auto delta = agreement::difference_of_means(labelled(data, c));
    std::vector<double> back(at(d));
    for (std::size_t i = 0; i < at(d * d); ++i) back[i / at(d)] += shrunk.matrix[i] * bases.lda[at(c)].u[i % at(d)];
    EXPECT_NEAR(dot(back, delta) / std::sqrt(dot(back, back) * dot(delta, delta)), 1, 1e-10);
    RowsOfConcepts erased = data;
    const auto matrix = removal(bases.leace[at(c)]);
    const auto mean = mean_of(data);
    for (std::size_t row = 0; row < 20; ++row)
      for (std::size_t i = 0; i < at(d); ++i) {
        erased.rows[row * at(d) + i] = mean[i];
        for (std::size_t j = 0; j < at(d); ++j)
          erased.rows[row * at(d) + i] += matrix[i * at(d) + j] * (data.rows[row * at(d) + j] - mean[j]);
      }
    for (const double value : covariance(erased, labels_of(data, c), 1)) EXPECT_NEAR(value, 0, 1e-12);
  }
}

TEST(LinearBases, OfNothingHaveNoDimension) {
  auto data = some_rows(40);
  for (auto& number : data.concept_number)
    if (number == 2) number = 1;
  const auto bases = linear_bases(data, layer_whitening(data), {true, false, true, true});
  for (const auto* kind : {&bases.means, &bases.lda, &bases.leace}) {
    EXPECT_EQ((*kind)[0].k, 1);
    EXPECT_EQ((*kind)[1].k, 0) << "not wanted";
    EXPECT_EQ((*kind)[2].k, 0) << "without rows";
  }
  RowsOfConcepts same{2, {1, 2, 1, 2, 1, 2, 5, 6, 5, 6}, {0, 1, 1, 2, 2}};
  EXPECT_EQ(means_bases(same, {false, false, true})[2].k, 1);
  RowsOfConcepts equal{2, {1, 2, 3, 4, 1, 2, 3, 4}, {0, 0, 1, 1}};
  EXPECT_EQ(linear_bases(equal, layer_whitening(equal), {true, true}).leace[0].k, 0) << "its mean is that of the others";
}

} // namespace
} // namespace concord::subspaces
