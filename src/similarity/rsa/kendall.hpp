#pragma once
/// Kendall's tau-a of two RDMs: the mean over pairs of different entries of +1 where both order them alike, -1 where opposite, 0 where one
/// ties. Over all pairs where these are few, else over a sample.

#include "concord/core/index.hpp"
#include "concord/core/philox.hpp"

#include <cmath>

namespace concord::similarity {

/// Two different entries of an RDM, each a pair of items i < j.
struct EntryPair {
  Index i[2], j[2];
};

class EntryPairs {
public:
  /// Of m items: all pairs of entries where they are no more than `samples`, else as many drawn with replacement.
  EntryPairs(Index m, Index samples, std::uint64_t seed);
  Index count() const { return count_; }
  EntryPair operator()(Index number) const;
  /// The standard error of a mean over count() pairs of numbers -1, 0 and 1, of mean `mean` and mean square `square`; 0 for all pairs.
  /// Never 0 for a sample: three pairs of the opposite sort count with it, so that 1.96 of it cover the truth in 95 % of
  /// the draws also near 1, where a sample may hold none of them.
  double error(double mean, double square) const;

private:
  Index m_;
  Index entries_;
  bool all_;
  Index count_;
  Philox random_;
};

template <typename T>
Index concordance(T x0, T x1, T y0, T y1) {
  return (Index{x1 > x0} - Index{x1 < x0}) * (Index{y1 > y0} - Index{y1 < y0});
}

} // namespace concord::similarity
