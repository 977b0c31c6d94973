#pragma once
/// Which features of a layer stand for all of them in the null of the best r, and at which of the shifts. Local.
///
/// Where r is large by chance hangs on how often a feature fires. So live features are put in the order of their firing counts and cut into
/// strata, one for each value that is to be taken; a feature of each stratum is drawn. A feature with count c costs about c + the mean
/// count (its sums must be looked through, too), so strata have like sums of (c + mean)^-1/2: what gives the least variance for the work
/// (Neyman 1934, with costs). Shifts go by turns.
///
/// Dense features, which fire on more than dense_above of the rows, are judged by each other alone (significance.hpp). They are summed up
/// four at a time and drawn so: each strip at one shift at least; of more than 64 strips 64, or as many as their share of the work says.
/// They have at most half of the values, as long as others have the rest.

#include "concord/core/philox.hpp"

#include "correlate/features/feature_source.hpp"
#include <algorithm>
#include <limits>

namespace concord::correlate {

/// One value of each (feature, shift).
struct NullSample {
  std::vector<std::int32_t> feature;                      ///< of the layer
  std::vector<std::int32_t> shift;                        ///< by its number, from 0
  std::vector<double> weight;                             ///< features that it stands for, all shifts together
  double dense = std::numeric_limits<double>::infinity(); ///< features that are active on more rows are dense
  Index size() const { return static_cast<Index>(feature.size()); }
  Index shifts() const { return shift.empty() ? 0 : 1 + *std::max_element(shift.begin(), shift.end()); }
};

/// At most shifts x `features` values; fewer where fewer features are live. Of shifts x `features` >= fewest_null_values (null_size.hpp)
/// there are values of dense features where these are live, and of others where others are.
NullSample null_sample(const FeatureSource& source, Index features, Index shifts, const Philox& random);

} // namespace concord::correlate
