#include "concord/agreement/bootstrap.hpp"

#include "concord/agreement/ranks.hpp"
#include "concord/core/philox.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace concord::agreement {
namespace {

void drop_undefined(std::vector<double>& values) {
  values.erase(std::remove_if(values.begin(), values.end(), [](double v) { return std::isnan(v); }), values.end());
}

double mean_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

/// Skewness of the statistic's influence, a sixth of it.
double acceleration(const std::vector<double>& jackknife) {
  const double mean = mean_of(jackknife);
  double squares = 0;
  double cubes = 0;
  for (const double v : jackknife) {
    squares += (mean - v) * (mean - v);
    cubes += std::pow(mean - v, 3);
  }
  return cubes / (6 * std::pow(squares, 1.5));
}

} // namespace

Interval percentile_interval(std::vector<double> replicates, double level) {
  drop_undefined(replicates);
  return {quantile(replicates, (1 - level) / 2), quantile(replicates, (1 + level) / 2)};
}

Interval bca_interval(double observed, std::vector<double> replicates, const std::vector<double>& jackknife, double level) {
  drop_undefined(replicates);
  if (replicates.empty() || jackknife.empty()) return {};
  const auto below = std::count_if(replicates.begin(), replicates.end(), [&](double v) { return v < observed; });
  const auto equal = std::count(replicates.begin(), replicates.end(), observed);
  const double share = (static_cast<double>(below) + 0.5 * static_cast<double>(equal)) / static_cast<double>(replicates.size());
  const double bias = inverse_normal(share);
  const double a = acceleration(jackknife);
  if (!std::isfinite(bias) || !std::isfinite(a)) return {};
  const auto place = [&](double p) {
    const double z = bias + inverse_normal(p);
    return normal_upper_tail(-(bias + z / (1 - a * z)));
  };
  return {quantile(replicates, place((1 - level) / 2)), quantile(replicates, place((1 + level) / 2))};
}

Interval wilson_interval(Index successes, Index trials, double level) {
  if (trials <= 0) return {};
  const auto n = static_cast<double>(trials);
  const double share = static_cast<double>(successes) / n;
  const double z = inverse_normal((1 + level) / 2);
  const double middle = (share + z * z / (2 * n)) / (1 + z * z / n);
  const double half = z / (1 + z * z / n) * std::sqrt(share * (1 - share) / n + z * z / (4 * n * n));
  return {std::max(0.0, middle - half), std::min(1.0, middle + half)};
}

DocumentBootstrap bootstrap_documents(Index documents, const std::function<double(const std::vector<Index>& drawn)>& statistic,
                                      const BootstrapOptions& options) {
  require(documents > 0, ExitCode::bad_data, "a bootstrap needs documents");
  std::vector<Index> drawn(static_cast<std::size_t>(documents));
  std::iota(drawn.begin(), drawn.end(), Index{0});
  DocumentBootstrap result;
  result.observed = statistic(drawn);
  std::vector<double> replicates;
  for (Index b = 0; b < options.replicates; ++b) {
    const Philox random(options.seed, "bootstrap", static_cast<std::uint64_t>(b));
    for (std::size_t i = 0; i < drawn.size(); ++i) drawn[i] = static_cast<Index>(random.below(i, static_cast<std::uint64_t>(documents)));
    std::sort(drawn.begin(), drawn.end());
    replicates.push_back(statistic(drawn));
  }
  drop_undefined(replicates);
  if (documents > 1 && documents <= options.jackknife_limit) {
    std::vector<double> jackknife;
    for (Index left_out = 0; left_out < documents; ++left_out) {
      drawn.resize(static_cast<std::size_t>(documents - 1));
      for (Index i = 0; i < documents - 1; ++i) drawn[static_cast<std::size_t>(i)] = i < left_out ? i : i + 1;
      jackknife.push_back(statistic(drawn));
    }
    drop_undefined(jackknife);
    result.interval = bca_interval(result.observed, replicates, jackknife, options.level);
    result.bca = !std::isnan(result.interval.low);
  }
  if (!result.bca) result.interval = percentile_interval(replicates, options.level);
  const double mean = mean_of(replicates);
  double squares = 0;
  for (const double v : replicates) squares += (v - mean) * (v - mean);
  result.error = std::sqrt(squares / static_cast<double>(replicates.size() - 1));
  return result;
}

} // namespace concord::agreement
