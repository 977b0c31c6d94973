#pragma once
/// The best partners of each feature, kept while correlations stream by (Local), and put together from all ranks (Collective).

#include "concord/comm/session.hpp"
#include "concord/core/index.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace concord::correlate {

/// The best partners of each feature, best first: larger r, then the smaller number. A partner is active together with the feature on at
/// least one row; features without variance (dead or constant) have none and are nobody's. Unused places hold -1 and r = 0.
struct BestPartners {
  Index places = 0;
  std::vector<std::int32_t> partner; ///< [F, places]
  std::vector<double> r;             ///< [F, places]
  std::vector<Index> cofire;         ///< [F, places] rows on which both are active
};

/// One candidate of a feature.
struct Partner {
  double r = 0;
  std::int32_t feature = -1;
  std::int32_t cofire = 0;
};

/// Best partners of the features of a share, in any order of offering. Twice as many as asked for are collected before the worse half is
/// dropped: so an offer costs little. Local.
class BestTable {
public:
  BestTable(Index features, Index places);
  /// What r must at least reach to be among the best of the feature.
  double floor(Index feature) const { return floors_[static_cast<std::size_t>(feature)]; }
  const double* floors() const { return floors_.data(); }
  void offer(Index feature, const Partner& partner) {
    auto& filled = filled_[static_cast<std::size_t>(feature)];
    partners_[static_cast<std::size_t>(feature * 2 * places_ + filled++)] = partner;
    if (filled == 2 * places_) drop_worse(feature);
  }
  /// Offers the other's partners of features [begin, end).
  void merge(const BestTable& other, Index begin, Index end);
  Index features() const { return static_cast<Index>(filled_.size()); }
  /// Best first.
  std::span<const Partner> best(Index feature);

private:
  void drop_worse(Index feature);
  Index places_;
  std::vector<std::int32_t> filled_;
  std::vector<double> floors_;
  std::vector<Partner> partners_;
};

/// The best of what ranks found for features, `names` being the number in the layer of each of a rank's features: on rank 0, empty
/// elsewhere. Collective over `comm`.
BestPartners merged(const comm::Communicator& comm, BestTable& mine, const std::vector<std::int32_t>& names, Index features, Index places);

/// The largest of what ranks found, 0 at least; as merged().
std::vector<double> merged_largest(const comm::Communicator& comm, const std::vector<double>& mine, const std::vector<std::int32_t>& names,
                                   Index features);

} // namespace concord::correlate
