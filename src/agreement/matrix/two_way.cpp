#include "agreement/matrix/two_way.hpp"

#include "concord/core/at.hpp"

#include <algorithm>
#include <cmath>

namespace concord::agreement {
TwoWay::TwoWay(Index concepts, const Mask& mask) : c_(concepts), mask_(&mask), in_row_(at(c_), 0.0), in_column_(at(c_), 0.0) {
  for (Index i = 0; i < c_; ++i)
    for (Index j = 0; j < c_; ++j) {
      const double there = mask[at(i * c_ + j)];
      in_row_[at(i)] += there;
      in_column_[at(j)] += there;
    }
  for (const double n : in_row_) {
    entries_ += static_cast<Index>(n);
    rank_ += n > 0 ? 1 : 0;
  }
  factorise();
}

void TwoWay::factorise() {
  factor_.assign(at(c_ * c_), 0.0);
  for (Index j = 0; j < c_; ++j) factor_[at(j * c_ + j)] = in_column_[at(j)];
  for (Index i = 0; i < c_; ++i) { // less N^T diag(1 / in_row) N, the lower half
    if (in_row_[at(i)] == 0) continue;
    const auto* row = mask_->data() + i * c_;
    for (Index j = 0; j < c_; ++j) {
      if (row[j] == 0) continue;
      for (Index k = 0; k <= j; ++k) factor_[at(j * c_ + k)] -= row[k] / in_row_[at(i)];
    }
  }
  constexpr double nothing = 1e-10; // pivots are shares of numbers of entries: a true one is some 1 / C at least
  for (Index j = 0; j < c_; ++j) {
    double* row = factor_.data() + j * c_;
    for (Index k = 0; k < j; ++k) {
      const double* other = factor_.data() + k * c_;
      double sum = row[k];
      for (Index l = 0; l < k; ++l) sum -= row[l] * other[l];
      row[k] = other[k] > 0 ? sum / other[k] : 0;
    }
    double pivot = row[j];
    for (Index l = 0; l < j; ++l) pivot -= row[l] * row[l];
    row[j] = pivot > nothing ? std::sqrt(pivot) : 0;
    rank_ += pivot > nothing ? 1 : 0;
  }
}

void TwoWay::solve(std::vector<double>& x) const {
  for (Index j = 0; j < c_; ++j) {
    const double* row = factor_.data() + j * c_;
    double sum = x[at(j)];
    for (Index k = 0; k < j; ++k) sum -= row[k] * x[at(k)];
    x[at(j)] = row[j] > 0 ? sum / row[j] : 0;
  }
  for (Index j = c_ - 1; j >= 0; --j) {
    const double* row = factor_.data() + j * c_;
    x[at(j)] = row[j] > 0 ? x[at(j)] / row[j] : 0;
    for (Index k = 0; k < j; ++k) x[at(k)] -= row[k] * x[at(j)];
  }
}

void TwoWay::take_out(std::vector<double>& values) const {
  std::vector<double> row_effects(at(c_), 0.0);
  std::vector<double> column_effects(at(c_), 0.0);
  for (Index i = 0; i < c_; ++i)
    for (Index j = 0; j < c_; ++j) {
      double& v = values[at(i * c_ + j)];
      if ((*mask_)[at(i * c_ + j)] == 0) v = 0;
      row_effects[at(i)] += v;
      column_effects[at(j)] += v;
    }
  for (Index i = 0; i < c_; ++i) {
    if (in_row_[at(i)] == 0) continue;
    for (Index j = 0; j < c_; ++j) column_effects[at(j)] -= (*mask_)[at(i * c_ + j)] * row_effects[at(i)] / in_row_[at(i)];
  }
  solve(column_effects);
  for (Index i = 0; i < c_; ++i) {
    if (in_row_[at(i)] == 0) continue;
    double effect = row_effects[at(i)];
    for (Index j = 0; j < c_; ++j) effect -= (*mask_)[at(i * c_ + j)] * column_effects[at(j)];
    effect /= in_row_[at(i)];
    for (Index j = 0; j < c_; ++j)
      if ((*mask_)[at(i * c_ + j)] != 0) values[at(i * c_ + j)] -= effect + column_effects[at(j)];
  }
}

} // namespace concord::agreement
