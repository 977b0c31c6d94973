#pragma once
/// The best partners of each feature, kept while correlations stream by (Local), and put together from all ranks (Collective).

#include "concord/comm/session.hpp"
#include "concord/core/index.hpp"

#include "correlate/sums/elements.hpp"
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

/// A bound of the last r among the best `places`: so many at least are at least as large; minus infinity where they are too few to say
/// more. The largest of each of 64 bins are ordered alone. None is NaN. Local.
double last_of_best(std::span<const double> r, Index places);

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
    partners_[first(feature) + static_cast<std::size_t>(filled++)] = partner;
    if (filled == 2 * places_) drop_worse(feature);
  }
  /// Fetches the place that an offer to the feature will take, and all of them when the worse half is about to go.
  void prefetch(Index feature) const {
    constexpr Index a_line = 64 / sizeof(Partner);
    const Index filled = filled_[static_cast<std::size_t>(feature)];
    const Partner* partners = partners_.data() + first(feature);
    __builtin_prefetch(partners + filled, 1);
    for (Index i = 0; filled + a_line >= 2 * places_ && i < filled; i += a_line) __builtin_prefetch(partners + i, 1);
  }
  /// Offers the other's partners of a feature to one of these.
  void merge(const BestTable& other, Index of_other, Index feature);
  /// Partners below it are of no interest.
  void raise_floor(Index feature, double floor) {
    auto& own = floors_[static_cast<std::size_t>(feature)];
    own = own < floor ? floor : own;
  }
  /// Forgets all partners of the first feature, of which those below `floor` are of no interest.
  void begin_anew(double floor);
  Index places() const { return places_; }
  Index features() const { return static_cast<Index>(filled_.size()); }
  /// In no order, and some of them more than are asked for.
  std::span<const Partner> candidates(Index feature) const {
    return {partners_.data() + first(feature), static_cast<std::size_t>(filled_[static_cast<std::size_t>(feature)])};
  }
  /// Best first: into `partners`, which is cleared before.
  void best(Index feature, std::vector<Partner>& partners) const;

private:
  std::size_t first(Index feature) const { return static_cast<std::size_t>(feature * 2 * places_); }
  void drop_worse(Index feature);
  Index places_;
  std::vector<std::int32_t> filled_;
  std::vector<double> floors_;
  std::vector<Partner> partners_; ///< [features, 2 places]
};

/// Whether several ranks have found partners for the same features, or each for features of its own.
enum class Finders { several, one };

/// The best of what ranks found for features, `names` being the number in the layer of each of a rank's features: on rank 0, empty
/// elsewhere. Collective over `comm`.
BestPartners merged(const comm::Communicator& comm, const BestTable& mine, const std::vector<std::int32_t>& names, Index features,
                    Index places, Finders finders);

/// The largest of what ranks found, 0 at least; as merged().
std::vector<double> merged_largest(const comm::Communicator& comm, const std::vector<double>& mine, const std::vector<std::int32_t>& names,
                                   Index features);

} // namespace concord::correlate
