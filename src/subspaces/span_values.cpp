#include "concord/subspaces/span_values.hpp"

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
constexpr Index rows_between = 64;
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

/// The values on one span of the codes that begin at row `first`, in the order of the features.
void add_span(const io::CsrMatrix& codes, Index first, const Span& span, std::int32_t number, SpanValue value,
              std::vector<std::pair<std::int32_t, Index>>& places, std::vector<Item>& items) {
  places.clear();
  const auto begin = codes.indptr[static_cast<std::size_t>(span.begin - first)];
  const auto end = codes.indptr[static_cast<std::size_t>(span.end - first)];
  const auto last_row = codes.indptr[static_cast<std::size_t>(span.end - 1 - first)];
  for (Index i = begin; i < end; ++i) places.emplace_back(codes.indices[static_cast<std::size_t>(i)], i);
  std::sort(places.begin(), places.end());
  for (std::size_t i = 0; i < places.size();) {
    const auto feature = places[i].first;
    float sum = 0;
    for (; i < places.size() && places[i].first == feature; ++i)
      sum = combined(value, sum, codes.values[static_cast<std::size_t>(places[i].second)], places[i].second >= last_row);
    if (value == SpanValue::mean) sum /= static_cast<float>(span.length());
    if (sum > 0) items.push_back({feature, {number, sum}});
  }
}

/// The values on spans [first, last).
std::vector<Item> items_of(const features::FeaturesFile& file, int layer, const std::vector<Span>& spans, Index first, Index last,
                           SpanValue value) {
  std::vector<Item> items;
  std::vector<std::pair<std::int32_t, Index>> places;
  for (Index i = first; i < last;) {
    const Index begin = spans[static_cast<std::size_t>(i)].begin;
    Index end = spans[static_cast<std::size_t>(i)].end;
    Index next = i + 1;
    for (; next < last; ++next) {
      const Span& span = spans[static_cast<std::size_t>(next)];
      if (span.begin > end + rows_between || span.end - begin > rows_at_once) break;
      end = std::max(end, span.end);
    }
    const auto codes = file.csr(layer, begin, end);
    for (; i < next; ++i) add_span(codes, begin, spans[static_cast<std::size_t>(i)], static_cast<std::int32_t>(i), value, places, items);
  }
  return items;
}

} // namespace

SpanValues span_values(const comm::Communicator& comm, const features::FeaturesFile& file, int layer, const std::vector<Span>& spans,
                       SpanValue value) {
  const dist::Partition shares{static_cast<Index>(spans.size()), comm.size()};
  auto items = comm::agreed(comm, [&] { return items_of(file, layer, spans, shares.begin(comm.rank()), shares.end(comm.rank()), value); });
  const dist::Partition owners{comm::agreed(comm, [&] { return file.features(layer); }), comm.size()};
  const auto before = [](const Item& a, const Item& b) { return std::pair(a.feature, a.entry.span) < std::pair(b.feature, b.entry.span); };
  std::sort(items.begin(), items.end(), before);
  std::vector<Index> begin;
  std::vector<Index> count;
  for (int rank = 0; rank < comm.size(); ++rank) {
    const auto place = [&](Index feature) {
      return std::partition_point(items.begin(), items.end(), [&](const Item& item) { return item.feature < feature; }) - items.begin();
    };
    begin.push_back(place(owners.begin(rank)));
    count.push_back(place(owners.end(rank)) - begin.back());
  }
  auto mine = comm::exchange(comm, items, begin, count);
  std::sort(mine.begin(), mine.end(), before);
  const Index first = owners.begin(comm.rank());
  std::vector<Index> starts(static_cast<std::size_t>(owners.size(comm.rank())) + 1);
  std::vector<SpanEntry> entries;
  entries.reserve(mine.size());
  for (const Item& item : mine) {
    ++starts[static_cast<std::size_t>(item.feature - first) + 1];
    entries.push_back(item.entry);
  }
  for (std::size_t i = 1; i < starts.size(); ++i) starts[i] += starts[i - 1];
  return {first, std::move(starts), std::move(entries)};
}

} // namespace concord::subspaces
