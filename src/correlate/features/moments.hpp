#pragma once
/// Sums and squares of features over their rows: what r needs beside the sums of products. Local.

#include "correlate/shares/feature_share.hpp"

namespace concord::correlate {

/// N S_ij - S_i S_j and the like from sums of a share's features. Features without variance have no number: every comparison with what
/// comes of them is false.
struct Moments {
  std::vector<double> sum;     ///< less the pilots
  std::vector<double> squares; ///< likewise
  std::vector<double> inverse; ///< 1 / sqrt(N S_jj - S_j^2), NaN without variance
  explicit Moments(Index features) : sum(static_cast<std::size_t>(features), 0.0), squares(static_cast<std::size_t>(features), 0.0) {}
  void add(const PostingShare& share);
  void add(const RowShare& share);
  void finish(Index rows);
};

/// A share of all rows with its moments.
template <typename ShareType>
struct Whole {
  ShareType share;
  Moments moments;
  explicit Whole(ShareType of) : share(std::move(of)), moments(share.size()) {
    moments.add(share);
    moments.finish(share.rows);
  }
};

} // namespace concord::correlate
