#include "concord/subspaces/spans/span_values.hpp"

#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/core/at.hpp"
#include "concord/dist/partition.hpp"

#include "subspaces/spans/span_codes.hpp"
#include <algorithm>
#include <numeric>

namespace concord::subspaces {
namespace {

struct Item {
  std::int32_t feature;
  SpanEntry entry;
};

/// The items of a piece by the rank that has their feature; where each rank's begin, and where the last one's end.
std::vector<Index> by_owner(const SpanPiece& piece, const std::vector<int>& owner_of, int ranks, std::vector<Item>& items) {
  std::vector<Index> begin(at(ranks) + 1);
  for (const std::int32_t feature : piece.features) ++begin[at(owner_of[at(feature)]) + 1];
  std::partial_sum(begin.begin(), begin.end(), begin.begin());
  auto next = begin;
  items.resize(piece.features.size());
  std::size_t i = 0;
  for (std::size_t span = 0; span < piece.ends.size(); ++span)
    for (; i < piece.ends[span]; ++i)
      items[at(next[at(owner_of[at(piece.features[i])])]++)] = {piece.features[i],
                                                                {piece.first_span + static_cast<std::int32_t>(span), piece.values[i]}};
  return begin;
}

/// Puts entries feature by feature, by the number that each rank has of each. A feature's entries from lower ranks stand first, as their
/// spans do.
class Placing {
public:
  /// @param counts  [ranks, own features] entries that come from each rank
  Placing(const std::vector<Index>& counts, Index first_feature, Index own_features)
      : first_(first_feature), own_(own_features), starts_(at(own_features) + 1), next_(counts.size()) {
    Index all = 0;
    for (std::size_t f = 0; f < at(own_); ++f) {
      for (std::size_t i = f; i < counts.size(); i += at(own_)) {
        next_[i] = all;
        all += counts[i];
      }
      starts_[f + 1] = all;
    }
    entries_.resize(at(all));
  }

  /// Of successive spans of a rank.
  void put(int rank, std::int32_t feature, const SpanEntry& entry) { entries_[at(next_[at(rank * own_ + feature - first_)]++)] = entry; }
  SpanValues values() { return {first_, std::move(starts_), std::move(entries_)}; }

private:
  Index first_, own_;
  std::vector<Index> starts_; ///< [own features + 1]
  std::vector<Index> next_;   ///< [ranks, own features] where the next entry goes
  std::vector<SpanEntry> entries_;
};

/// Of one rank: each piece is let go once it is placed.
void place_own(std::deque<SpanPiece>& pieces, Placing& placing) {
  for (; !pieces.empty(); pieces.pop_front()) {
    const SpanPiece& piece = pieces.front();
    std::size_t i = 0;
    for (std::size_t span = 0; span < piece.ends.size(); ++span)
      for (; i < piece.ends[span]; ++i)
        placing.put(0, piece.features[i], {piece.first_span + static_cast<std::int32_t>(span), piece.values[i]});
  }
}

/// A piece of each rank at a time goes to the ranks that have its features.
void hand_on(const comm::Communicator& comm, std::deque<SpanPiece>& pieces, const dist::Partition& owners, Placing& placing) {
  std::vector<int> owner_of;
  for (int rank = 0; rank < comm.size(); ++rank) owner_of.insert(owner_of.end(), at(owners.size(rank)), rank);
  std::vector<Item> items, came;
  for (Index rounds = comm::max_of(comm, static_cast<Index>(pieces.size())); rounds > 0; --rounds) {
    const auto begin = by_owner(pieces.empty() ? SpanPiece() : pieces.front(), owner_of, comm.size(), items);
    if (!pieces.empty()) pieces.pop_front();
    std::vector<Index> count(at(comm.size()));
    std::adjacent_difference(begin.begin() + 1, begin.end(), count.begin());
    const auto received = comm::exchange_counts(comm, count);
    came.resize(at(std::accumulate(received.begin(), received.end(), Index{0})));
    comm::exchange_items(comm, items.data(), begin, count, came.data(), received, sizeof(Item));
    auto item = came.begin();
    for (int rank = 0; rank < comm.size(); ++rank)
      for (const auto end = item + received[at(rank)]; item != end; ++item) placing.put(rank, item->feature, item->entry);
  }
}

} // namespace

SpanValues span_values(const comm::Communicator& comm, const features::FeaturesFile& file, int layer, const std::vector<Span>& spans,
                       SpanValue value, const comm::StopWithin& stop) {
  const dist::Partition shares{static_cast<Index>(spans.size()), comm.size()};
  Index features = 0;
  SpanCodes codes;
  comm::agree(comm, [&] {
    features = file.features(layer);
    codes = read_span_codes(file.codes(layer), features, spans, shares.begin(comm.rank()), shares.end(comm.rank()), value, stop);
  });
  stop.throw_if_wanted(comm, "subspaces");
  const dist::Partition owners{features, comm.size()};
  std::vector<Index> begin, count;
  for (int rank = 0; rank < comm.size(); ++rank) {
    begin.push_back(owners.begin(rank));
    count.push_back(owners.size(rank));
  }
  Placing placing(comm::exchange(comm, codes.count, begin, count), owners.begin(comm.rank()), owners.size(comm.rank()));
  if (comm.size() == 1)
    place_own(codes.pieces, placing);
  else
    hand_on(comm, codes.pieces, owners, placing);
  return placing.values();
}

} // namespace concord::subspaces
