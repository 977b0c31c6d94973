#include "concord/sae/rows/norm_limit.hpp"

#include "concord/comm/collectives.hpp"

#include "sae/kinds/batch_top_k.hpp"
#include "sae/numbers/rows.hpp"
#include <algorithm>
#include <cmath>
#include <numeric>

namespace concord::sae {
namespace {

double norm_of(const float* values, Index width) {
  return std::sqrt(squared_norm({values, at(width)}));
}

} // namespace

NormLimit::NormLimit(std::vector<Index> parts, std::span<const double> medians, double multiple) {
  if (multiple <= 0) return;
  parts_ = std::move(parts);
  for (const double median : medians) limits_.push_back(median > 0 ? multiple * median : std::numeric_limits<double>::infinity());
}

bool NormLimit::keeps(const float* row) const {
  for (std::size_t part = 0; part < parts_.size(); row += parts_[part++])
    if (norm_of(row, parts_[part]) > limits_[part]) return false;
  return true;
}

Index NormLimit::thin(Batch& batch) const {
  if (parts_.empty()) return 0;
  const Index d = std::accumulate(parts_.begin(), parts_.end(), Index{0});
  std::size_t to = 0;
  for (std::size_t r = 0; r < batch.positions.size(); ++r) {
    const float* row = batch.rows.data() + r * at(d);
    if (!keeps(row)) continue;
    if (to != r) {
      std::copy_n(row, d, batch.rows.data() + to * at(d));
      batch.positions[to] = batch.positions[r];
    }
    ++to;
  }
  const auto gone = static_cast<Index>(batch.positions.size() - to);
  batch.positions.resize(to);
  batch.rows.resize(to * at(d));
  return gone;
}

Index NormLimit::blank(std::span<const float> rows, SparseRows& codes) const {
  if (parts_.empty()) return 0;
  const auto d = at(std::accumulate(parts_.begin(), parts_.end(), Index{0}));
  const std::size_t n = rows.size() / d;
  const std::size_t before = codes.ends.size() - n;
  Index gone = 0;
  Index from = before == 0 ? 0 : codes.ends[before - 1];
  Index to = from;
  for (std::size_t r = 0; r < n; ++r) {
    const Index end = codes.ends[before + r];
    if (keeps(rows.data() + r * d)) {
      std::copy(codes.index.begin() + from, codes.index.begin() + end, codes.index.begin() + to);
      std::copy(codes.value.begin() + from, codes.value.begin() + end, codes.value.begin() + to);
      to += end - from;
    } else {
      ++gone;
    }
    from = end;
    codes.ends[before + r] = to;
  }
  codes.index.resize(at(to));
  codes.value.resize(at(to));
  return gone;
}

double median_norm(std::span<const float> rows, Index d) {
  std::vector<double> norms;
  for (std::size_t row = 0; row < rows.size(); row += at(d)) norms.push_back(norm_of(rows.data() + row, d));
  if (norms.empty()) return 0;
  const auto middle = norms.begin() + static_cast<std::ptrdiff_t>(norms.size() / 2);
  std::nth_element(norms.begin(), middle, norms.end());
  return *middle;
}

std::vector<double> median_norms(const comm::Communicator& comm, const std::vector<Index>& parts, std::span<const float> rows) {
  const Index d = std::accumulate(parts.begin(), parts.end(), Index{0});
  const Index mine = static_cast<Index>(rows.size()) / d;
  const Index all = comm::sum_of(comm, mine);
  std::vector<double> medians;
  Index begin = 0;
  for (const Index width : parts) {
    std::vector<float> norms;
    for (Index r = 0; r < mine; ++r) norms.push_back(static_cast<float>(norm_of(rows.data() + r * d + begin, width)));
    medians.push_back(static_cast<double>(nth_largest(comm, norms, (all + 1) / 2)));
    begin += width;
  }
  return medians;
}

} // namespace concord::sae
