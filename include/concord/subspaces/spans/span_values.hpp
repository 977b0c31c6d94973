#pragma once
/// What each feature of a layer is worth on each span, from the sparse codes alone.

#include "concord/comm/session.hpp"
#include "concord/comm/stop.hpp"
#include "concord/features/features.hpp"
#include "concord/subspaces/members/membership.hpp"
#include "concord/subspaces/settings.hpp"

#include <span>
#include <vector>

namespace concord::subspaces {

/// The span values of this rank's features [begin, begin + count()): those that are not 0, feature by feature in the order of the spans.
class SpanValues {
public:
  SpanValues() = default;
  SpanValues(Index begin, std::vector<Index> starts, std::vector<SpanEntry> entries)
      : begin_(begin), starts_(std::move(starts)), entries_(std::move(entries)) {}
  Index begin() const { return begin_; }
  Index count() const { return static_cast<Index>(starts_.size()) - 1; }
  /// Of feature begin() + i.
  std::span<const SpanEntry> of(Index i) const {
    const auto first = static_cast<std::size_t>(starts_[static_cast<std::size_t>(i)]);
    return std::span(entries_).subspan(first, static_cast<std::size_t>(starts_[static_cast<std::size_t>(i) + 1]) - first);
  }

private:
  Index begin_ = 0;
  std::vector<Index> starts_{0};
  std::vector<SpanEntry> entries_;
};

/// Reads the codes at the spans, each rank those of its share of them, and hands each feature's values to the rank that has the feature in
/// Partition{features, ranks}. Time and memory go with the codes at spans. Collective over `comm`.
/// @param spans ascending, the same on all ranks. @throws Error bad_data or io, agreed; stopped, agreed, where `stop` is
/// wanted.
SpanValues span_values(const comm::Communicator& comm, const features::FeaturesFile& file, int layer, const std::vector<Span>& spans,
                       SpanValue value, const comm::StopWithin& stop = comm::StopWithin());

} // namespace concord::subspaces
