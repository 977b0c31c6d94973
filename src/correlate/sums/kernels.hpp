#pragma once
/// The inner loops of the correlation: sums of products and counts of common rows of features of A with the features of B. Local.
///
/// Every sum is taken in row order in float64, whatever kernel takes it and in how many pieces the rows come: so the bits depend on
/// the data alone. Products of two sparse values are exact; those with a pilot taken off are rounded once, by fused multiply-add.

#include "correlate/shares/feature_share.hpp"

namespace concord::correlate::kernels {

/// Places of a block's sparse features of B that a feature of A has been active with, each once.
struct Touched {
  std::vector<std::int32_t> places; ///< room for one more than the block has
  Index count = 0;
};

/// Rows of A beside rows of B: row t of A's share lies beside row t + shift of B's, going on from 0 behind the last.
///
/// A's sparse feature `feature` (counted from the dense ones on) against a block of B's share: `into` [b.size()]. With `touched`, sparse
/// places on which there were no common rows before are noted: a rare feature touches few of many.
void add_sparse(const PostingShare& a, Index feature, const RowShare& b, std::size_t block, Index shift, Accumulator* into,
                Touched* touched = nullptr);

/// A's dense strip against a block of B's share: `into` [strip_a, b.size()], whole strips. Uses `scratch`.
struct StripScratch {
  std::vector<double> values;
};
void add_dense(const PostingShare& a, Index strip, const RowShare& b, std::size_t block, Index shift, Accumulator* into,
               StripScratch& scratch);

} // namespace concord::correlate::kernels
