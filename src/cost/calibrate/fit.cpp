#include "concord/core/at.hpp"
#include "concord/core/philox.hpp"

#include "cost/calibrate/probe.hpp"
#include <algorithm>
#include <cmath>
#include <limits>

namespace concord::cost {

bool is_sized(Work work) {
  switch (work) {
  case Work::product_f32:
  case Work::product_bf16:
  case Work::product_f64:
  case Work::eigenvectors:
  case Work::eigenvalues:
  case Work::screen_int8:
  case Work::screen_bf16:
  case Work::dissimilarities:
    return true;
  default:
    return false;
  }
}

double seconds_of(std::span<const Amount> amounts, const Machine& machine, std::span<const Work> but) {
  double seconds = 0;
  for (const Amount& amount : amounts)
    if (std::find(but.begin(), but.end(), amount.work) == but.end()) seconds += amount.units / machine.rate(amount.work, amount.size, 1);
  return seconds;
}

namespace {

/// Solves a symmetric positive system by Gauss; empty where it is singular.
std::vector<double> solved(std::vector<std::vector<double>> a, std::vector<double> b) {
  const std::size_t n = b.size();
  for (std::size_t i = 0; i < n; ++i) {
    if (std::abs(a[i][i]) < 1e-12) return {};
    for (std::size_t j = i + 1; j < n; ++j) {
      const double factor = a[j][i] / a[i][i];
      for (std::size_t k = i; k < n; ++k) a[j][k] -= factor * a[i][k];
      b[j] -= factor * b[i];
    }
  }
  for (std::size_t i = n; i-- > 0;) {
    for (std::size_t k = i + 1; k < n; ++k) b[i] -= a[i][k] * b[k];
    b[i] /= a[i][i];
  }
  return b;
}

double product(std::span<const double> x, std::span<const double> y) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
  return sum;
}

} // namespace

/// Every choice of columns that are not 0, since there are few.
std::vector<double> least_squares(const std::vector<std::vector<double>>& columns, std::span<const double> right) {
  std::vector<double> scale; // columns of length 1, so that a pivot says whether the system is singular
  for (const auto& column : columns) scale.push_back(std::max(1e-300, std::sqrt(product(column, column))));
  std::vector<double> best(columns.size(), 0.0);
  double least = product(right, right);
  for (std::size_t choice = 1; choice < std::size_t{1} << columns.size(); ++choice) {
    std::vector<std::size_t> taken;
    for (std::size_t c = 0; c < columns.size(); ++c)
      if ((choice >> c & 1) != 0) taken.push_back(c);
    std::vector<std::vector<double>> a(taken.size(), std::vector<double>(taken.size()));
    std::vector<double> b(taken.size());
    for (std::size_t i = 0; i < taken.size(); ++i) {
      b[i] = product(columns[taken[i]], right) / scale[taken[i]];
      for (std::size_t j = 0; j < taken.size(); ++j)
        a[i][j] = product(columns[taken[i]], columns[taken[j]]) / scale[taken[i]] / scale[taken[j]];
    }
    const auto x = solved(a, b);
    if (x.empty() || std::any_of(x.begin(), x.end(), [](double v) { return v < 0; })) continue;
    std::vector<double> whole(columns.size(), 0.0);
    for (std::size_t i = 0; i < taken.size(); ++i) whole[taken[i]] = x[i] / scale[taken[i]];
    double error = 0;
    for (std::size_t r = 0; r < right.size(); ++r) {
      double value = -right[r];
      for (std::size_t c = 0; c < columns.size(); ++c) value += columns[c][r] * whole[c];
      error += value * value;
    }
    if (error < least) {
      least = error;
      best = whole;
    }
  }
  return best;
}

void fit(const std::vector<Probe>& probes, std::span<const double> seconds, std::span<const Work> unknown, Machine& machine) {
  struct Unknown {
    Work work;
    bool by_size; ///< the part that falls with the size
  };
  std::vector<Unknown> names;
  for (const Work work : unknown) {
    names.push_back({work, false});
    if (is_sized(work)) names.push_back({work, true});
  }
  std::vector<std::vector<double>> columns(names.size(), std::vector<double>(probes.size(), 0.0));
  std::vector<double> right;
  for (std::size_t p = 0; p < probes.size(); ++p) {
    right.push_back(std::max(0.0, 1 - seconds_of(probes[p].amounts, machine, unknown) / seconds[p]));
    for (std::size_t c = 0; c < names.size(); ++c)
      for (const Amount& amount : probes[p].amounts)
        if (amount.work == names[c].work) columns[c][p] += amount.units / (names[c].by_size ? amount.size : 1) / seconds[p];
  }
  auto x = least_squares(columns, right);
  constexpr double too_small = 0.01;
  for (std::size_t c = 0; c < names.size(); ++c) {
    Rate& rate = machine.rates[static_cast<std::size_t>(names[c].work)];
    if (names[c].by_size) {
      rate.half = x[c] * rate.alone;
      continue;
    }
    const double most = *std::max_element(columns[c].begin(), columns[c].end());
    if (x[c] * most < too_small) x[c] = too_small / most;
    rate.alone = rate.together = 1 / x[c];
  }
}

std::vector<float> some_normals(Index count, std::uint64_t seed) {
  constexpr Index period = (1 << 16) - 15; // a prime: rows of no width repeat
  const Philox random(seed, "calibrate");
  std::vector<float> values(at(std::min(count, period)));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(random.normal(i));
  values.reserve(at(count));
  while (static_cast<Index>(values.size()) < count) values.push_back(values[values.size() - at(period)]);
  return values;
}

std::vector<Family> all_families(const std::filesystem::path& work, double part) {
  std::vector<Family> families;
  add_compare_families(part, families);
  add_forward_families(work, part, families);
  add_training_families(work, part, families);
  add_encode_families(work, part, families);
  add_correlate_families(work, part, families);
  return families;
}

} // namespace concord::cost
