#pragma once
// The oracle of effects: whole runs of the small demo model in which a hook changes rows behind a layer, all beside the model in double.
#include "concord/subspaces/effects/effects.hpp"

#include "subspaces/worlds.hpp"
#include <ATen/ATen.h>
#include <cstdlib>
#include <functional>

namespace concord::subspaces::whole_runs {

using at::Tensor;

inline std::size_t place(Index i) {
  return static_cast<std::size_t>(i);
}

inline constexpr Index context_rows = 40;
inline constexpr Index first_row = 1000;

inline const model::Transformer& small_model() {
  static const auto model = [] {
    const auto path = std::filesystem::path(std::getenv("CONCORD_SOURCE")) / "data/demo/models/small";
    return model::Transformer(path, {0, model::read_config(path).layers, true}, at::kFloat, at::kCPU, context_rows);
  }();
  return model;
}

inline std::vector<std::int32_t> some_ids() {
  std::vector<std::int32_t> ids{2};
  for (Index i = 1; i < context_rows; ++i) ids.push_back(static_cast<std::int32_t>((7 + 131 * i * i) % small_model().config().vocab));
  return ids;
}

inline Basis random_basis(std::uint64_t seed, Index k) {
  const Index d = small_model().config().hidden;
  const Philox random(seed, "basis");
  std::vector<std::vector<double>> columns;
  for (Index c = 0; c < k; ++c) {
    std::vector<double> column;
    for (Index i = 0; i < d; ++i) column.push_back(random.normal(static_cast<std::uint64_t>(c * d + i)));
    for (const auto& before : columns) {
      double product = 0;
      for (std::size_t i = 0; i < column.size(); ++i) product += column[i] * before[i];
      for (std::size_t i = 0; i < column.size(); ++i) column[i] -= product * before[i];
    }
    double squares = 0;
    for (const double value : column) squares += value * value;
    for (double& value : column) value /= std::sqrt(squares);
    columns.push_back(column);
  }
  Basis basis{d, k, std::vector<double>(place(d * k)), 1};
  for (Index i = 0; i < d; ++i)
    for (Index c = 0; c < k; ++c) basis.u[place(i * k + c)] = columns[place(c)][place(i)];
  return basis;
}

inline Span span_of(Index begin, Index end) {
  Span span;
  span.begin = first_row + begin;
  span.end = first_row + end;
  return span;
}

/// Log probabilities of rows [begin, end) behind a whole run; `change` is made behind `layer`.
inline Tensor log_probabilities(int layer, Index begin, Index end, const std::function<void(const Tensor&)>& change) {
  const c10::InferenceMode no_gradients;
  const auto context = small_model().contexts({0, context_rows});
  Tensor residual = small_model().embed(some_ids(), context);
  small_model().run(residual, context, [&](int at_layer, const Tensor& rows) {
    if (at_layer == layer) change(rows);
  });
  Tensor all;
  small_model().log_probabilities(residual.slice(0, begin, end), [&](Index, const Tensor& rows) {
    all = all.defined() ? at::cat({all, rows}) : rows.clone();
  });
  return all.to(at::kDouble);
}

/// Takes the rows of the span [rows, d] and gives what stands in their place.
using Change = std::function<Tensor(const Tensor& of_span)>;

struct SlowChange {
  double kl = 0;
  double loss = 0; ///< NaN where no row has a next token
  Tensor before;   ///< log probabilities from the span's last row on
  Tensor changed;
};

inline SlowChange slow_change(int layer, const Span& span, Index after, const Change& change) {
  const Index first = span.begin - first_row;
  const Index last = span.end - 1 - first_row;
  const Index end = std::min(context_rows, last + 1 + after);
  SlowChange slow;
  slow.before = log_probabilities(layer, last, end, [](const Tensor&) {});
  slow.changed = log_probabilities(layer, last, end, [&](const Tensor& rows) {
    const Tensor of_span = rows.slice(0, first, last + 1);
    of_span.copy_(change(of_span.to(at::kDouble)));
  });
  slow.kl = (slow.before.exp() * (slow.before - slow.changed)).sum().item<double>() / static_cast<double>(end - last);
  const auto ids = some_ids();
  double with_target = 0;
  for (Index row = last; row < end; ++row) {
    if (row + 1 >= context_rows) continue;
    ++with_target;
    slow.loss += (slow.before[row - last][ids[place(row + 1)]] - slow.changed[row - last][ids[place(row + 1)]]).item<double>();
  }
  slow.loss /= with_target; // NaN of none
  return slow;
}

/// [d, k] in double.
inline Tensor columns_of(const Basis& basis) {
  return basis.k == 0 ? at::zeros({basis.d, 1}, at::kDouble) : at::tensor(basis.u, at::kDouble).view({basis.d, basis.k});
}

inline std::vector<double> some_centre() {
  const Philox random(4, "centre");
  std::vector<double> centre;
  for (Index i = 0; i < small_model().config().hidden; ++i) centre.push_back(0.5 * random.normal(static_cast<std::uint64_t>(i)));
  return centre;
}

inline void expect_near(double value, double expected, double tolerance, double floor) {
  if (std::isnan(expected)) {
    EXPECT_TRUE(std::isnan(value));
    return;
  }
  EXPECT_NEAR(value, expected, tolerance * std::abs(expected) + floor);
}

} // namespace concord::subspaces::whole_runs
