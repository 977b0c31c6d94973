#include "concord/similarity/factor/factor.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/core/at.hpp"
#include "concord/core/log.hpp"
#include "concord/dist/partition.hpp"
#include "concord/linalg/decompose.hpp"
#include "concord/linalg/dense.hpp"

#include "similarity/factor/gram_moments.hpp"
#include <algorithm>
#include <cmath>

namespace concord::similarity {
namespace {

using linalg::view;

constexpr double eps = std::numeric_limits<double>::epsilon();
constexpr Index shuffled_elements = Index{1} << 25; ///< of Y that a permutation puts in order at once

/// Rows of each rank.
std::vector<Index> shares(Index rows, int ranks) {
  std::vector<Index> counts(static_cast<std::size_t>(ranks));
  for (int r = 0; r < ranks; ++r) counts[static_cast<std::size_t>(r)] = dist::Partition{rows, ranks}.size(r);
  return counts;
}

} // namespace

NodeRows::NodeRows(const comm::Communicator& comm, const std::vector<double>& mine, Index rows, Index width)
    : array_(comm, 2 * rows * width, {}, comm::NodeArray::Taking::as_written),
      values_(reinterpret_cast<double*>(array_.values().data()), at(rows * width)) {
  const auto counts = shares(rows, comm.size());
  std::copy(mine.begin(), mine.end(), values_.begin() + dist::Partition{rows, comm.size()}.begin(comm.rank()) * width);
  array_.share(0, counts, 2 * width); // a double is two floats of memory
}

namespace {

/// This rank's rows, centred, and what does not depend on a basis.
Factor centred(const comm::Communicator& comm, const Matrix& x) {
  const dist::Partition share{x.rows, comm.size()};
  Factor f;
  f.m = x.rows;
  f.d = f.carried = f.components = x.cols;
  f.begin = share.begin(comm.rank());
  f.end = share.end(comm.rank());
  f.carrier.resize(at((f.end - f.begin) * f.d));
  x.copy_rows(f.begin, f.end - f.begin, f.carrier.data());
  linalg::centre_columns(comm, f.carrier, f.m, f.d);
  f.cka.row_squares.assign(at(f.m), 0.0);
  for (Index i = f.begin; i < f.end; ++i)
    for (Index c = 0; c < f.d; ++c) f.cka.row_squares[at(i)] += std::pow(f.carrier[at((i - f.begin) * f.d + c)], 2);
  comm::sum(comm, f.cka.row_squares);
  for (const double square : f.cka.row_squares) f.squares += square;
  return f;
}

/// sum over all ranks' rows of a_i^T b_i.
std::vector<double> summed_product(const comm::Communicator& comm, const std::vector<double>& a, Index a_cols, const std::vector<double>& b,
                                   Index b_cols, Index rows) {
  std::vector<double> t(at(a_cols * b_cols), 0.0);
  if (rows > 0) linalg::transposed_product(view(a, rows, a_cols), view(b, rows, b_cols), t.data(), b_cols);
  comm::sum(comm, t);
  return t;
}

/// The eigenvalues of X^T X, descending, and vectors.
struct Eigen {
  std::vector<double> values;
  std::vector<double> vectors;
};

/// Estimate of what rounding of X^T X, some eps lambda_1 in random directions, does to a mean canonical correlation with the first k
/// components: they lose orthogonality as lambda_1 / lambda_j, and turn against the dropped ones as lambda_1 / (lambda_i - lambda_j).
double gram_error(const std::vector<double>& lambda, Index k) {
  const auto d = static_cast<Index>(lambda.size());
  const double noise = 8 * eps * lambda.front();
  double orthogonality = 0;
  for (Index j = 0; j < k; ++j) orthogonality += noise / lambda[at(j)];
  double turned = 0;
  for (Index i = 0; i < k; ++i)
    for (Index j = k; j < d; ++j) turned += std::pow(lambda[at(i)] - lambda[at(j)], -2);
  const double turn = noise * std::sqrt(turned / static_cast<double>(d)) * std::sqrt(static_cast<double>(std::min(k, d - k)));
  return (orthogonality + 2 * turn) / static_cast<double>(std::max<Index>(1, k));
}

/// Whether the eigenvalues tell rank and components as well as singular values would.
bool gram_is_safe(const std::vector<double>& lambda, const SvccaOptions& options) {
  constexpr double tolerance = 1e-11;
  if (lambda.empty() || lambda.back() <= 64 * eps * static_cast<double>(lambda.size()) * lambda.front())
    return false; // the rank is not seen
  std::vector<double> s(lambda.size());
  std::transform(lambda.begin(), lambda.end(), s.begin(), [](double v) { return std::sqrt(v); });
  return gram_error(lambda, cut(s, static_cast<Index>(s.size()), options).k) <= tolerance;
}

void take_singular_values(Factor& f, std::vector<double> s, Index rank, const FactorOptions& options) {
  f.singular_values = std::move(s);
  f.side = cut(f.singular_values, rank, options.svcca);
  f.cka.self = 0;
  for (const double value : f.singular_values) f.cka.self += std::pow(value, 4);
  f.components = options.all_components ? rank : f.side.k;
}

/// U = X V S^-1.
void take_gram(Factor& f, const Eigen& eigen, const FactorOptions& options) {
  std::vector<double> s(eigen.values.size());
  std::transform(eigen.values.begin(), eigen.values.end(), s.begin(), [](double v) { return std::sqrt(v); });
  take_singular_values(f, std::move(s), f.d, options);
  f.route = "gram";
  f.to_basis.resize(at(f.d * f.components));
  for (Index i = 0; i < f.d; ++i)
    for (Index j = 0; j < f.components; ++j)
      f.to_basis[at(i * f.components + j)] = eigen.vectors[at(i * f.d + j)] / f.singular_values[at(j)];
}

/// The first `cols` columns of a matrix of `width`.
std::vector<double> leading_columns(const std::vector<double>& x, Index rows, Index width, Index cols) {
  std::vector<double> out(at(rows * cols));
  for (Index i = 0; i < rows; ++i) std::copy_n(x.begin() + i * width, cols, out.begin() + i * cols);
  return out;
}

/// This rank's rows of a matrix on a grid. Collective.
std::vector<double> rows_of(linalg::DistMatrix q, Index begin, Index end) {
  if (q.grid().comm().size() == 1) return linalg::transposed(view(q.local(), q.n(), q.m())); // column-major, whole
  return q.rows(begin, end);
}

/// U = Q rotation, or U alone.
void take_qr(const comm::Communicator& comm, Factor& f, const FactorOptions& options) {
  const linalg::Grid grid(comm);
  linalg::DistMatrix x(grid, f.m, f.d);
  if (comm.size() == 1) {
    x.local() = linalg::transposed(view(f.carrier, f.m, f.d));
  } else {
    const NodeRows all(comm, f.carrier, f.m, f.d);
    x.fill([&](Index i, Index j) { return all.values()[at(i * f.d + j)]; });
  }
  const bool whole = options.route == Route::whole;
  auto basis = whole ? linalg::left_basis_whole(std::move(x)) : linalg::left_basis(std::move(x));
  f.carried = basis.q.n();
  f.carrier = rows_of(std::move(basis.q), f.begin, f.end);
  take_singular_values(f, std::move(basis.singular_values), basis.rank, options);
  f.route = whole ? "whole" : "qr";
  if (basis.rotation.empty()) {
    f.carrier = leading_columns(f.carrier, f.end - f.begin, f.carried, f.components);
    f.carried = f.components;
  } else {
    f.to_basis = leading_columns(basis.rotation, f.carried, f.carried, f.components);
  }
}

/// Replaces the carrier by U.
void form_basis(const comm::Communicator& comm, Factor& f) {
  const Index rows = f.end - f.begin;
  if (!f.to_basis.empty()) {
    std::vector<double> u(at(rows * f.components));
    if (rows > 0) linalg::product(view(f.carrier, rows, f.carried), view(f.to_basis, f.carried, f.components), u.data(), f.components);
    f.carrier = std::move(u);
    f.carried = f.components;
    f.to_basis.clear();
  }
  double squares = 0;
  for (Index i = 0; i < rows; ++i) {
    double leverage = 0;
    for (Index j = 0; j < f.side.k; ++j) leverage += std::pow(f.carrier[at(i * f.carried + j)], 2);
    squares += leverage * leverage;
  }
  f.leverage_squares = comm::sum_of(comm, squares);
}

/// U_k^T X. `centred_rows` are X's.
std::vector<double> loadings(const comm::Communicator& comm, const Factor& f, const std::vector<double>& centred_rows) {
  const auto cross = summed_product(comm, f.carrier, f.carried, centred_rows, f.d, f.end - f.begin);
  if (f.to_basis.empty()) return {cross.begin(), cross.begin() + f.side.k * f.d};
  std::vector<double> out(at(f.side.k * f.d));
  linalg::transposed_product({f.to_basis.data(), f.carried, f.side.k, f.components}, view(cross, f.carried, f.d), out.data(), f.d);
  return out;
}

/// T' = A_x^T T A_y; each rank makes a share of its rows where `comm` is given.
std::vector<double> in_bases(std::vector<double> t, const Factor& x, const Factor& y, const comm::Communicator* comm) {
  const int parts = comm == nullptr ? 1 : comm->size();
  const int part = comm == nullptr ? 0 : comm->rank();
  const auto gathered = [&](std::vector<double> own, Index rows, Index cols) {
    if (parts == 1) return own;
    std::vector<double> all(at(rows * cols));
    comm::all_gather_rows(*comm, own.data(), shares(rows, parts), cols * static_cast<Index>(sizeof(double)), all.data());
    return all;
  };
  std::vector<double> right = std::move(t);
  if (!y.to_basis.empty()) {
    const auto from = std::move(right);
    const dist::Partition share{x.carried, parts};
    right.assign(at(share.size(part) * y.components), 0.0);
    linalg::product({from.data() + share.begin(part) * y.carried, share.size(part), y.carried, y.carried},
                    view(y.to_basis, y.carried, y.components), right.data(), y.components);
    right = gathered(std::move(right), x.carried, y.components);
  }
  if (x.to_basis.empty()) return right;
  const dist::Partition share{x.components, parts};
  std::vector<double> both(at(share.size(part) * y.components), 0.0);
  linalg::transposed_product({x.to_basis.data() + share.begin(part), x.carried, share.size(part), x.components},
                             view(right, x.carried, y.components), both.data(), y.components);
  return gathered(std::move(both), x.components, y.components);
}

} // namespace

namespace {

/// Factors of one or two matrices, those of two side by side.
class Factoring {
public:
  Factoring(const comm::Communicator& comm, const std::vector<const Matrix*>& matrices, const FactorOptions& options)
      : comm_(comm), options_(options) {
    factors_.reserve(matrices.size());
    for (const auto* matrix : matrices) factors_.push_back(centred(comm, *matrix));
    comm::agree(comm_, [&] {
      for (const auto& f : factors_)
        require(std::isfinite(f.squares), ExitCode::bad_data,
                "a matrix to compare holds a value that is not finite, or too large to square");
    });
  }

  std::vector<Factor> factors() {
    std::vector<std::vector<double>> rows; // X itself, which loadings need when the carrier is another
    rows.reserve(factors_.size());
    for (const auto& f : factors_) rows.push_back(options_.loadings ? f.carrier : std::vector<double>{});
    const auto safe = by_gram();
    for (std::size_t i = 0; i < factors_.size(); ++i) {
      Factor& f = factors_[i];
      if (!safe[i]) take_qr(comm_, f, options_);
      constexpr Index worth_forming = 8; // permutations, each of which saves two products of d x d
      if (options_.permutations >= worth_forming || options_.law) form_basis(comm_, f);
      if (options_.law) find_law(f);
      if (options_.loadings) f.loadings = loadings(comm_, f, rows[i]);
    }
    return std::move(factors_);
  }

private:
  void find_law(Factor& f) const {
    std::vector<double> weights(f.singular_values.begin(), f.singular_values.begin() + f.components);
    for (double& w : weights) w *= w;
    f.whole = gram_moments(comm_, f, weights);
    f.kept = gram_moments(comm_, f, std::vector<double>(at(f.side.k), 1.0));
    f.first = gram_moments(comm_, f, std::vector<double>(at(std::min<Index>(1, f.side.k)), 1.0));
  }

  /// Which were factored by their Gram matrices.
  std::vector<bool> by_gram() {
    std::vector<bool> safe(factors_.size(), false);
    if (options_.route != Route::automatic && options_.route != Route::gram) return safe;
    std::vector<Eigen> eigen(factors_.size());
    for (std::size_t i = 0; i < factors_.size(); ++i) {
      const Factor& f = factors_[i];
      if (f.m - 1 <= f.d || f.squares == 0) continue;
      eigen[i].vectors = linalg::gram({f.carrier.data(), f.end - f.begin, f.d, f.d});
      comm::sum(comm_, eigen[i].vectors);
    }
    decompose(eigen);
    for (std::size_t i = 0; i < factors_.size(); ++i) {
      safe[i] = gram_is_safe(eigen[i].values, options_.svcca);
      if (safe[i]) take_gram(factors_[i], eigen[i], options_);
    }
    return safe;
  }

  /// Eigenvectors of each X^T X by a rank of its own, so that two ranks take half the time.
  void decompose(std::vector<Eigen>& eigen) const {
    const auto owner = [&](std::size_t i) { return static_cast<int>(i) % comm_.size(); };
    comm::agree(comm_, [&] {
      for (std::size_t i = 0; i < eigen.size(); ++i)
        if (comm_.rank() == owner(i) && !eigen[i].vectors.empty())
          eigen[i].values = linalg::symmetric_eigen(eigen[i].vectors, factors_[i].d);
    });
    for (std::size_t i = 0; i < eigen.size(); ++i) {
      comm::broadcast(comm_, eigen[i].values, owner(i));
      comm::broadcast(comm_, eigen[i].vectors, owner(i));
    }
  }

  const comm::Communicator& comm_;
  const FactorOptions& options_;
  std::vector<Factor> factors_;
};

} // namespace

FactorPair::FactorPair(const comm::Communicator& comm, const Matrix& x, const Matrix& y, const FactorOptions& options, FactorCache* cache)
    : comm_(comm) {
  FactorCache own;
  FactorCache& known = cache != nullptr ? *cache : own;
  std::vector<const Matrix*> missing;
  for (const auto* matrix : {&x, &y})
    if (!known.contains(matrix) && (missing.empty() || missing.front() != matrix)) missing.push_back(matrix);
  auto made = Factoring(comm, missing, options).factors();
  for (std::size_t i = 0; i < missing.size(); ++i) known[missing[i]] = std::make_shared<const Factor>(std::move(made[i]));
  x_ = known.at(&x);
  y_ = known.at(&y);
}

std::vector<double> FactorPair::matched() const {
  return in_bases(summed_product(comm_, x_->carrier, x_->carried, y_->carrier, y_->carried, x_->end - x_->begin), *x_, *y_, &comm_);
}

void FactorPair::prepare_permutations() {
  if (comm_.size() == 1) return;
  whole_x_ = std::make_unique<NodeRows>(comm_, x_->carrier, x_->m, x_->carried);
  whole_y_ = std::make_unique<NodeRows>(comm_, y_->carrier, y_->m, y_->carried);
}

std::vector<double> FactorPair::permuted(const std::vector<Index>& order) {
  const auto rows_x = whole_x_ ? whole_x_->values() : std::span<const double>(x_->carrier);
  const auto rows_y = whole_y_ ? whole_y_->values() : std::span<const double>(y_->carrier);
  const Index width = std::max<Index>(1, y_->carried);
  const Index block = std::clamp<Index>(shuffled_elements / width, 1, std::max<Index>(1, y_->m));
  shuffled_y_.resize(at(block * width));
  std::vector<double> t(at(x_->carried * y_->carried), 0.0);
  for (Index begin = 0; begin < y_->m; begin += block) {
    const Index rows = std::min(block, y_->m - begin);
    for (Index i = 0; i < rows; ++i)
      std::copy_n(rows_y.begin() + order[at(begin + i)] * y_->carried, y_->carried, shuffled_y_.begin() + i * y_->carried);
    linalg::transposed_product({rows_x.data() + begin * x_->carried, rows, x_->carried, x_->carried},
                               {shuffled_y_.data(), rows, y_->carried, y_->carried}, t.data(), y_->carried,
                               begin == 0 ? linalg::Into::replaced : linalg::Into::sum);
  }
  return in_bases(std::move(t), *x_, *y_, nullptr);
}

} // namespace concord::similarity
