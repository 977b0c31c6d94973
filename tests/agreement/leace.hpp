#pragma once
/// LEACE of any number of labels, by its definition: the oracle for that of one label (subspaces/bases/linear_bases.hpp). Local.

#include "concord/agreement/subspace.hpp"
#include "concord/core/at.hpp"
#include "concord/core/error.hpp"
#include "concord/linalg/dense.hpp"

#include <algorithm>
#include <vector>

namespace concord::test {

/// LEACE (Belrose et al. 2023): r(x) = x - W^+ P W (x - mean), W the whitening and P the orthogonal projector on the columns of W S_xz.
/// After it no linear classifier sees the labels z; of all affine maps of which that holds it moves x least. Not an orthogonal projection.
class Leace {
public:
  /// @param covariance [d, d] of x, @param cross [d, labels] of x with z, @param mean [d] of x
  /// @param least  eigenvalues of the covariance below this share of the largest are cut, and singular values of W S_xz likewise
  Leace(const std::vector<double>& covariance, const std::vector<double>& cross, std::vector<double> mean, double least = 1e-6);
  /// Of what is removed.
  Index rank() const { return rank_; }
  /// Eigenvalues that were cut.
  Index cut() const { return cut_; }
  /// Rows [n, d].
  std::vector<double> erased(const std::vector<double>& rows) const;
  /// I - W^+ P W, [d, d].
  std::vector<double> matrix() const;

private:
  Index d_;
  Index rank_ = 0;
  Index cut_ = 0;
  std::vector<double> mean_;
  std::vector<double> left_;  ///< W^+ times a basis of P, [d, rank]
  std::vector<double> right_; ///< the basis' transpose times W, [rank, d]
};

inline Leace::Leace(const std::vector<double>& covariance, const std::vector<double>& cross, std::vector<double> mean, double least)
    : d_(static_cast<Index>(mean.size())), mean_(std::move(mean)) {
  require(d_ > 0 && static_cast<Index>(cross.size()) % d_ == 0, ExitCode::internal, "a cross-covariance of width {} has {} entries", d_,
          cross.size());
  const auto w = agreement::whitening(covariance, d_, least);
  cut_ = w.cut;
  const Index labels = static_cast<Index>(cross.size()) / d_;
  if (labels == 0) return;
  std::vector<double> whitened_cross(at(d_ * labels));
  linalg::product(linalg::view(w.whiten, d_, d_), linalg::view(cross, d_, labels), whitened_cross.data(), labels);
  const auto left = linalg::left_vectors(linalg::view(whitened_cross, d_, labels));
  const auto stride = static_cast<Index>(left.values.size());
  rank_ = std::count_if(left.values.begin(), left.values.end(), [&](double s) { return s > least * left.values.front(); });
  const linalg::View basis{left.u.data(), d_, rank_, stride};
  left_.resize(at(d_ * rank_));
  right_.resize(at(rank_ * d_));
  linalg::product(linalg::view(w.unwhiten, d_, d_), basis, left_.data(), rank_);
  linalg::transposed_product(basis, linalg::view(w.whiten, d_, d_), right_.data(), d_);
}

inline std::vector<double> Leace::erased(const std::vector<double>& rows) const {
  const auto n = static_cast<Index>(rows.size()) / d_;
  require(static_cast<Index>(rows.size()) == n * d_, ExitCode::internal, "{} values are no rows of width {}", rows.size(), d_);
  auto out = rows;
  if (rank_ == 0) return out;
  auto centred = rows;
  for (Index i = 0; i < n; ++i)
    for (Index j = 0; j < d_; ++j) centred[at(i * d_ + j)] -= mean_[at(j)];
  std::vector<double> seen(at(n * rank_));
  std::vector<double> removed(at(n * d_));
  linalg::product_with_transpose(linalg::view(centred, n, d_), linalg::view(right_, rank_, d_), seen.data(), rank_);
  linalg::product_with_transpose(linalg::view(seen, n, rank_), linalg::view(left_, d_, rank_), removed.data(), d_);
  for (std::size_t i = 0; i < out.size(); ++i) out[i] -= removed[i];
  return out;
}

inline std::vector<double> Leace::matrix() const {
  std::vector<double> out(at(d_ * d_), 0.0);
  if (rank_ > 0) linalg::product(linalg::view(left_, d_, rank_), linalg::view(right_, rank_, d_), out.data(), d_);
  for (double& v : out) v = -v;
  for (Index j = 0; j < d_; ++j) out[at(j * d_ + j)] += 1;
  return out;
}

} // namespace concord::test
