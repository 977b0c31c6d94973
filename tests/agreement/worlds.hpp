#pragma once
// Planted worlds: two models' matrices of concepts by concepts with chosen things in common.

#include "concord/agreement/matrix/matrix_agreement.hpp"
#include "concord/core/at.hpp"
#include "concord/core/philox.hpp"

#include <cmath>
#include <string>

namespace concord::agreement::worlds {

using Values = std::vector<double>;

/// What a world is made of; each is a factor, 0: without.
struct World {
  std::string name;
  double frequency = 0;      ///< f_c + 0.7 f_c' with the same f in both models, and half as large row and column effects of their own
  double co_occurrence = 0;  ///< a symmetric matrix that both share; given as a covariate
  double groups = 0;         ///< means of groups by groups, each model's own
  double shared_groups = 0;  ///< means of groups by groups that both share: true agreement
  double shared = 0;         ///< pairs of concepts that both share: true agreement; the noise is 1
  double shared_rows = 1;    ///< share of the concepts of each group whose rows are shared
  bool exponential = false;  ///< strengths multiply: exp of all that
  bool signed_noise = false; ///< exp(frequency) times the noise
  double cubed = false;      ///< heavy tails
  double rounded_to = 0;     ///< ties: whole multiples of this
};

struct Shape {
  Index groups = 8;
  Index size = 4;
  Index concepts() const { return groups * size; }
};

inline Values normals(std::uint64_t seed, const char* purpose, std::uint64_t number, Index n) {
  const Philox random(seed, purpose, number);
  Values v(at(n));
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = random.normal(i);
  return v;
}

/// What both models, or one model's two halves, have in common.
struct Draws {
  Values f, co_occurrence, shared, shared_groups;
};

inline Values one_matrix(const World& w, const Shape& shape, const Draws& common, std::uint64_t seed, std::uint64_t model,
                         double half_noise, std::uint64_t half) {
  const Index c = shape.concepts();
  const auto own_row = normals(seed, "own rows", model, c);
  const auto own_column = normals(seed, "own columns", model, c);
  const auto means = normals(seed, "groups", model, shape.groups * shape.groups);
  const auto noise = normals(seed, "noise", model, c * c);
  const auto of_half = normals(seed, "half", 2 * model + half, c * c);
  Values e(at(c * c));
  for (Index i = 0; i < c; ++i)
    for (Index j = 0; j < c; ++j) {
      const auto ij = at(i * c + j);
      const auto block = at(i / shape.size * shape.groups + j / shape.size);
      const double nodes = w.frequency * (common.f[at(i)] + 0.7 * common.f[at(j)]);
      const bool shares = static_cast<double>(i % shape.size) < w.shared_rows * static_cast<double>(shape.size);
      const double random = noise[ij] + half_noise * of_half[ij];
      double v = nodes + 0.5 * w.frequency * (own_row[at(i)] + own_column[at(j)]) + w.co_occurrence * common.co_occurrence[ij] +
                 w.groups * means[block] + w.shared_groups * common.shared_groups[block] + (shares ? w.shared * common.shared[ij] : 0) +
                 random;
      if (w.signed_noise) v = std::exp(nodes) * random;
      if (w.exponential) v = std::exp(v);
      if (w.cubed > 0) v = v * v * v;
      if (w.rounded_to > 0) v = w.rounded_to * std::round(v / w.rounded_to);
      e[ij] = v;
    }
  return e;
}

/// `halves`: two matrices a model, each with noise of its own half as large as the interaction noise; else one.
inline MatrixPair draw(const World& w, const Shape& shape, std::uint64_t seed, bool halves = false) {
  const Index c = shape.concepts();
  Draws common{normals(seed, "f", 0, c), normals(seed, "co-occurrence", 0, c * c), normals(seed, "shared", 0, c * c),
               normals(seed, "shared groups", 0, shape.groups * shape.groups)};
  for (Index i = 0; i < c; ++i)
    for (Index j = 0; j < i; ++j) common.co_occurrence[at(i * c + j)] = common.co_occurrence[at(j * c + i)];
  MatrixPair pair;
  pair.concepts = c;
  for (std::uint64_t half = 0; half < (halves ? 2U : 1U); ++half) {
    pair.a.push_back(one_matrix(w, shape, common, seed, 0, halves ? 0.5 : 0, half));
    pair.b.push_back(one_matrix(w, shape, common, seed, 1, halves ? 0.5 : 0, half));
  }
  if (w.co_occurrence > 0) pair.covariates.push_back(common.co_occurrence);
  for (Index i = 0; i < c; ++i) pair.groups.push_back(i / shape.size);
  return pair;
}

} // namespace concord::agreement::worlds
