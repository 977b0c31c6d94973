#pragma once
/// Intervals by resampling documents. Local.

#include "concord/core/index.hpp"

#include <functional>
#include <limits>
#include <vector>

namespace concord::agreement {

struct Interval {
  double low = std::numeric_limits<double>::quiet_NaN();
  double high = std::numeric_limits<double>::quiet_NaN();
};

/// Quantiles (1 - level) / 2 and (1 + level) / 2 of the replicates that are numbers. NaN of none.
Interval percentile_interval(std::vector<double> replicates, double level);

/// Bias-corrected and accelerated (Efron 1987), as scipy.stats.bootstrap: `jackknife` holds the statistic without each document in turn.
/// NaN where all replicates lie on one side of `observed` or the jackknife values are all equal.
Interval bca_interval(double observed, std::vector<double> replicates, const std::vector<double>& jackknife, double level);

/// Wilson's interval of a share of `successes` in `trials`.
Interval wilson_interval(Index successes, Index trials, double level);

struct BootstrapOptions {
  Index replicates = 1000;
  double level = 0.95;
  Index jackknife_limit = 2000; ///< with more documents the interval is the percentile one
  std::uint64_t seed = 0;
};

struct DocumentBootstrap {
  double observed = 0;
  Interval interval;
  bool bca = false; ///< else percentile: too many documents for a jackknife, or BCa is undefined
  double error = 0; ///< standard deviation of the replicates
};

/// Draws `documents` documents with replacement, `replicates` times. `statistic` gets the numbers of the documents drawn, in ascending
/// order and with repeats; NaN replicates do not count.
DocumentBootstrap bootstrap_documents(Index documents, const std::function<double(const std::vector<Index>& drawn)>& statistic,
                                      const BootstrapOptions& options);

} // namespace concord::agreement
