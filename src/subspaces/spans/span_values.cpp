#include "concord/subspaces/spans/span_values.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/dist/partition.hpp"

#include <algorithm>

namespace concord::subspaces {
namespace {

struct Item {
  std::int32_t feature;
  SpanEntry entry;
};

/// Rows of the codes that lie so near are read at once.
constexpr Index rows_between = 8;
constexpr Index rows_at_once = 1 << 14;

float combined(SpanValue value, float so_far, float next, bool of_last_row) {
  switch (value) {
  case SpanValue::max:
    return std::max(so_far, next);
  case SpanValue::last:
    return of_last_row ? next : so_far;
  default:
    return so_far + next;
  }
}

/// The values on one span of the codes that begin at row `first`, each feature once.
void add_span(const io::CsrMatrix& codes, Index first, const Span& span, std::int32_t number, SpanValue value,
              std::vector<std::pair<std::int32_t, Index>>& places, std::vector<Item>& items) {
  places.clear();
  const auto begin = codes.indptr[static_cast<std::size_t>(span.begin - first)];
  const auto end = codes.indptr[static_cast<std::size_t>(span.end - first)];
  const auto last_row = codes.indptr[static_cast<std::size_t>(span.end - 1 - first)];
  for (Index i = begin; i < end; ++i) places.emplace_back(codes.indices[static_cast<std::size_t>(i)], i);
  if (last_row > begin) std::sort(places.begin(), places.end()); // a row names no feature twice
  for (std::size_t i = 0; i < places.size();) {
    const auto feature = places[i].first;
    float sum = 0;
    for (; i < places.size() && places[i].first == feature; ++i)
      sum = combined(value, sum, codes.values[static_cast<std::size_t>(places[i].second)], places[i].second >= last_row);
    if (value == SpanValue::mean) sum /= static_cast<float>(span.length());
    if (sum > 0) items.push_back({feature, {number, sum}});
  }
}

/// The values on spans [first, last), span by span.
std::vector<Item> items_of(const features::LayerCodes& layer, const std::vector<Span>& spans, Index first, Index last, SpanValue value,
                           const comm::StopWithin& stop) {
  std::vector<Item> items;
  std::vector<std::pair<std::int32_t, Index>> places;
  for (Index i = first; i < last && !stop.wanted_here();) {
    const Index begin = spans[static_cast<std::size_t>(i)].begin;
    Index end = spans[static_cast<std::size_t>(i)].end;
    Index next = i + 1;
    for (; next < last; ++next) {
      const Span& span = spans[static_cast<std::size_t>(next)];
      if (span.begin > end + rows_between || span.end - begin > rows_at_once) break;
      end = std::max(end, span.end);
    }
    const auto codes = layer.rows(begin, end);
    for (; i < next; ++i) add_span(codes, begin, spans[static_cast<std::size_t>(i)], static_cast<std::int32_t>(i), value, places, items);
  }
  return items;
}

/// In the order of features [first, first + count), those of a feature as they came; where each feature's begin.
template <typename T, typename Take>
std::vector<Index> by_feature(const std::vector<Item>& items, Index first, Index count, std::vector<T>& sorted, Take&& take) {
  std::vector<Index> starts(static_cast<std::size_t>(count) + 1);
  for (const Item& item : items) ++starts[static_cast<std::size_t>(item.feature - first) + 1];
  for (std::size_t i = 1; i < starts.size(); ++i) starts[i] += starts[i - 1];
  auto next = starts;
  sorted.resize(items.size());
  for (const Item& item : items) sorted[static_cast<std::size_t>(next[static_cast<std::size_t>(item.feature - first)]++)] = take(item);
  return starts;
}

} // namespace

SpanValues span_values(const comm::Communicator& comm, const features::FeaturesFile& file, int layer, const std::vector<Span>& spans,
                       SpanValue value, const comm::StopWithin& stop) {
  const dist::Partition shares{static_cast<Index>(spans.size()), comm.size()};
  Index features = 0;
  std::vector<Item> items;
  comm::agree(comm, [&] {
    features = file.features(layer);
    items = items_of(file.codes(layer), spans, shares.begin(comm.rank()), shares.end(comm.rank()), value, stop);
  });
  stop.throw_if_wanted(comm, "subspaces");
  const dist::Partition owners{features, comm.size()};
  std::vector<Index> begin;
  std::vector<Index> count;
  std::vector<Item> sorted;
  const auto of_feature = by_feature(items, 0, features, sorted, [](const Item& item) { return item; });
  std::vector<Item>().swap(items);
  for (int rank = 0; rank < comm.size(); ++rank) {
    begin.push_back(of_feature[static_cast<std::size_t>(owners.begin(rank))]);
    count.push_back(of_feature[static_cast<std::size_t>(owners.end(rank))] - begin.back());
  }
  const auto mine = comm::exchange(comm, sorted, begin, count); // by rank, so those of a feature are in the order of the spans
  std::vector<Item>().swap(sorted);
  const Index first = owners.begin(comm.rank());
  std::vector<SpanEntry> entries;
  auto starts = by_feature(mine, first, owners.size(comm.rank()), entries, [](const Item& item) { return item.entry; });
  return {first, std::move(starts), std::move(entries)};
}

} // namespace concord::subspaces
