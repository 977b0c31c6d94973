#pragma once
/// Rows far longer than the others (attention sinks: few tokens with norms of a hundred medians), which training and evaluation leave out.

#include "concord/comm/session.hpp"
#include "concord/sae/rows/row_feed.hpp"
#include "concord/sae/search/encoder.hpp"

#include <span>
#include <vector>

namespace concord::sae {

/// The largest norm that a row may have: a multiple of the median norm, for each model of a crosscoder by itself.
class NormLimit {
public:
  /// Keeps all rows.
  NormLimit() = default;
  /// `parts`: widths of the models of a row; `medians`: of their norms; `multiple` 0: keeps all rows. Where a median is 0 there is no
  /// limit.
  NormLimit(std::vector<Index> parts, std::span<const double> medians, double multiple);
  /// Whether no part of the row is longer than its limit. Local.
  bool keeps(const float* row) const;
  /// Takes the rows that are too long out of a batch; the others keep their places. Returns how many went. Local.
  Index thin(Batch& batch) const;
  /// Takes the codes of rows that are too long out: `rows` [n, d] are those of the last n rows of `codes`. Returns how many rows went.
  /// Local.
  Index blank(std::span<const float> rows, SparseRows& codes) const;

private:
  std::vector<Index> parts_;
  std::vector<double> limits_;
};

/// The median norm of each part over the rows of all ranks, exact and thus the same at any number of them: of n rows the (n / 2 + 1)th
/// smallest. Collective over `comm`.
std::vector<double> median_norms(const comm::Communicator& comm, const std::vector<Index>& parts, std::span<const float> rows);

/// The same of rows [n, d] that are at hand. Local.
double median_norm(std::span<const float> rows, Index d);

} // namespace concord::sae
