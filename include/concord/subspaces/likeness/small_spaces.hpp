#pragma once
/// Similarity of two small spaces with matched rows, from the inner products of the rows: what thousands of concept pairs can afford.
/// Local. The measures are those of module similarity, which compares spaces of any size (compare_spaces.hpp).

#include "concord/core/index.hpp"

#include <array>
#include <vector>

namespace concord::subspaces {

/// The measures, in the order of files and reports: rsa (Spearman over dissimilarities 1 - Pearson of rows), cka_debiased, procrustes, and
/// svcca of min(k, rank) components.
inline constexpr int small_measures = 4;
const char* name_of_small_measure(int measure);
using SmallScores = std::array<double, small_measures>; ///< NaN: not defined

/// Rows of width d by their inner products.
class SmallSpace {
public:
  SmallSpace() = default;
  /// @param rows [n, d]
  SmallSpace(const std::vector<double>& rows, Index n, Index d);
  Index rows() const { return n_; }
  double product(Index i, Index j) const { return products_[static_cast<std::size_t>(i * n_ + j)]; }
  double correlation(Index i, Index j) const { return correlations_[static_cast<std::size_t>(i * n_ + j)]; }

private:
  Index n_ = 0;
  std::vector<double> products_;     ///< [n, n]
  std::vector<double> correlations_; ///< [n, n] Pearson of rows; NaN of a constant one
};

/// Matched rows of two spaces, made ready: one side can be compared under many pairings.
class SmallSide {
public:
  /// The rows named, in that order. @param k components of svcca
  SmallSide(const SmallSpace& space, const std::vector<Index>& rows, Index k);
  Index rows() const { return m_; }

private:
  friend SmallScores small_scores(const SmallSide& x, const SmallSide& y, const std::vector<Index>& order);
  Index m_ = 0;
  Index components_ = 0;
  std::vector<double> centred_; ///< [m, m] inner products of centred rows
  std::vector<double> root_;    ///< [m, m] its square root
  std::vector<double> basis_;   ///< [m, components] of the column space
  std::vector<double> rank_;    ///< [m, m] centred ranks of dissimilarities, 0 on the diagonal; empty: not defined
  double rank_squares_ = 0;
};

/// Row i of x meets row order[i] of y. Not defined below four rows.
SmallScores small_scores(const SmallSide& x, const SmallSide& y, const std::vector<Index>& order);

} // namespace concord::subspaces
