#include "subspaces/geometry/coactivation.hpp"

#include "concord/agreement/two_by_two.hpp"
#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/at.hpp"
#include "concord/dist/partition.hpp"

#include <algorithm>
#include <limits>
#include <optional>
#include <set>
#include <span>

namespace concord::subspaces {
namespace {

/// Of all contexts.
double number_of_windows(const std::vector<Index>& offsets, Index window) {
  Index all = 0;
  for (std::size_t c = 1; c < offsets.size(); ++c) all += (offsets[c] - offsets[c - 1] + window - 1) / window;
  return static_cast<double>(all);
}

Together nothing_together(Index concepts) {
  const std::vector<double> unknown(at(concepts * concepts), std::numeric_limits<double>::quiet_NaN());
  return {unknown, unknown, unknown};
}

/// By the windows that hold the one, the other, and both.
void put(Together& together, std::size_t place, Index one, Index other, Index both, double windows) {
  const auto n11 = static_cast<double>(both);
  const double n10 = static_cast<double>(one) - n11;
  const double n01 = static_cast<double>(other) - n11;
  const agreement::TwoByTwo table{n11, n10, n01, windows - n11 - n10 - n01};
  together.log_odds[place] = agreement::log_odds(table);
  together.phi[place] = agreement::phi(table);
  together.npmi[place] = agreement::npmi(table);
}

/// A set of members, by their places.
using Bits = std::vector<std::uint64_t>;

bool meet(const Bits& a, const Bits& b) {
  for (std::size_t i = 0; i < a.size(); ++i)
    if ((a[i] & b[i]) != 0) return true;
  return false;
}

Bits without(const Bits& a, const Bits& b) {
  Bits rest(a);
  for (std::size_t i = 0; i < a.size(); ++i) rest[i] &= ~b[i];
  return rest;
}

/// Counts windows by which concepts are active in them.
class Windows {
public:
  Windows(const std::vector<std::vector<std::int32_t>>& members, Index features)
      : concepts_(static_cast<Index>(members.size())), is_member_(at(features)), place_(at(features), -1) {
    Index places = 0;
    for (const auto& of_concept : members)
      for (const auto feature : of_concept)
        if (is_member_[at(feature)] == 0) {
          is_member_[at(feature)] = 1;
          place_[at(feature)] = static_cast<std::int32_t>(places++);
        }
    active_.resize(at(places + 63) / 64);
    for (const auto& of_concept : members) {
      all_.emplace_back(active_.size());
      for (const auto feature : of_concept) set(all_.back(), place_[at(feature)]);
    }
    for (Index c = 0; c < concepts_; ++c)
      for (Index other = 0; other < concepts_; ++other)
        if (c != other && meet(all_[at(c)], all_[at(other)]))
          apart_.push_back({at(c * concepts_ + other), without(all_[at(c)], all_[at(other)]), without(all_[at(other)], all_[at(c)])});
    one_.assign(at(concepts_), 0);
    of_apart_.assign(2 * apart_.size(), 0);
    both_.assign(at(concepts_ * concepts_), 0);
  }

  /// Most features are no members, so these are sorted out first, without branches.
  void activate(std::span<const std::int32_t> features) {
    hits_.resize(features.size());
    std::size_t hits = 0;
    for (const std::int32_t feature : features) {
      hits_[hits] = feature;
      hits += is_member_[at(feature)];
    }
    for (std::size_t i = 0; i < hits; ++i) set(active_, place_[at(hits_[i])]);
    any_ = any_ || hits > 0;
  }

  void end_window() {
    if (!any_) return;
    present_.clear();
    for (Index c = 0; c < concepts_; ++c)
      if (meet(active_, all_[at(c)])) present_.push_back(c);
    for (const Index c : present_) {
      ++one_[at(c)];
      for (const Index other : present_) ++both_[at(c * concepts_ + other)];
    }
    for (std::size_t i = 0; i < apart_.size(); ++i) {
      const bool one = meet(active_, apart_[i].one);
      of_apart_[2 * i] += one ? 1 : 0;
      of_apart_[2 * i + 1] += one && meet(active_, apart_[i].other) ? 1 : 0;
    }
    std::fill(active_.begin(), active_.end(), 0);
    any_ = false;
  }

  /// Of all ranks' windows. Collective.
  Together together(const comm::Communicator& comm, double windows) {
    comm::sum(comm, one_);
    comm::sum(comm, both_);
    comm::sum(comm, of_apart_);
    const auto none_of = [](const Bits& bits) {
      return std::all_of(bits.begin(), bits.end(), [](std::uint64_t word) { return word == 0; });
    };
    std::vector<Index> one(both_.size(), 0);
    std::vector<bool> known(both_.size());
    for (Index c = 0; c < concepts_; ++c)
      for (Index other = 0; other < concepts_; ++other) {
        one[at(c * concepts_ + other)] = one_[at(c)];
        known[at(c * concepts_ + other)] = c != other && !none_of(all_[at(c)]) && !none_of(all_[at(other)]);
      }
    for (std::size_t i = 0; i < apart_.size(); ++i) {
      one[apart_[i].place] = of_apart_[2 * i];
      both_[apart_[i].place] = of_apart_[2 * i + 1];
      known[apart_[i].place] = !none_of(apart_[i].one) && !none_of(apart_[i].other);
    }
    Together found = nothing_together(concepts_);
    for (Index c = 0; c < concepts_; ++c)
      for (Index other = 0; other < concepts_; ++other) {
        const std::size_t place = at(c * concepts_ + other);
        if (known[place]) put(found, place, one[place], one[at(other * concepts_ + c)], both_[place], windows);
      }
    return found;
  }

private:
  static void set(Bits& bits, Index place) { bits[at(place / 64)] |= std::uint64_t{1} << static_cast<unsigned>(place % 64); }

  Index concepts_;
  std::vector<std::uint8_t> is_member_; ///< [features] of some concept
  std::vector<std::int32_t> place_;     ///< [features] among the members
  std::vector<std::int32_t> hits_;
  std::vector<Bits> all_; ///< [C] members
  /// Two concepts that share members: what counts are those that the other lacks.
  struct Apart {
    std::size_t place = 0; ///< in [C, C]
    Bits one, other;
  };
  std::vector<Apart> apart_;
  Bits active_;
  bool any_ = false;
  std::vector<Index> present_;  ///< concepts active in this window
  std::vector<Index> one_;      ///< [C] windows in which members of c are active
  std::vector<Index> both_;     ///< [C, C] windows in which members of both are
  std::vector<Index> of_apart_; ///< of each of apart_: windows in which the one is active, and both
};

constexpr Index rows_at_once = 1 << 11; // their columns stay in a cache

/// Reads the columns of the codes; their values do not count.
class Counting {
public:
  Counting(const features::FeaturesFile& file, int layer, const std::vector<Index>& offsets, Index window)
      : codes_(file.codes(layer)), offsets_(offsets), window_(window) {}

  /// The windows of contexts [first, last).
  void count(Index first, Index last, Windows& windows) {
    const Index begin = offsets_[at(first)];
    codes_.entry_offsets(begin, offsets_[at(last)], entries_);
    codes_.columns_at(entries_, begin, rows_);
    for (Index context = first; context < last; ++context)
      for (Index row = offsets_[at(context)]; row < offsets_[at(context) + 1]; row += window_) {
        const Index end = std::min(row + window_, offsets_[at(context) + 1]);
        const Index first_entry = rows_.indptr[at(row - begin)];
        windows.activate(std::span(rows_.indices).subspan(at(first_entry), at(rows_.indptr[at(end - begin)] - first_entry)));
        windows.end_window();
      }
  }

private:
  features::LayerCodes codes_;
  const std::vector<Index>& offsets_;
  Index window_;
  std::vector<Index> entries_;
  io::CsrMatrix rows_;
};

} // namespace

Together members_together(const comm::Communicator& comm, const features::FeaturesFile& file, int layer,
                          const std::vector<std::vector<std::int32_t>>& members, const std::vector<Index>& offsets, Index window) {
  std::optional<Windows> windows;
  const comm::StopWithin stop;
  comm::agree(comm, [&] {
    windows.emplace(members, file.features(layer));
    Counting counting(file, layer, offsets, window);
    const dist::Partition share{static_cast<Index>(offsets.size()) - 1, comm.size()};
    for (Index first = share.begin(comm.rank()); first < share.end(comm.rank()) && !stop.wanted_here();) {
      Index last = first + 1;
      while (last < share.end(comm.rank()) && offsets[at(last) + 1] - offsets[at(first)] <= rows_at_once) ++last;
      counting.count(first, last, *windows);
      first = last;
    }
  });
  stop.throw_if_wanted(comm, "subspaces");
  return windows->together(comm, number_of_windows(offsets, window));
}

Together words_together(const comm::Communicator& comm, const std::vector<concepts::Occurrence>& mine, const concepts::ConceptLists& lists,
                        const std::vector<Index>& offsets, Index window) {
  const auto count = static_cast<Index>(lists.concepts.size());
  std::vector<Index> both(at(count * count));
  std::set<Index> present;
  std::pair<Index, Index> where{-1, -1};
  const auto end_window = [&] {
    for (const Index c : present)
      for (const Index other : present) ++both[at(c * count + other)];
    present.clear();
  };
  for (const auto& occurrence : mine) {
    const Index context = std::upper_bound(offsets.begin(), offsets.end(), occurrence.first_row) - offsets.begin() - 1;
    const std::pair<Index, Index> here{context, (occurrence.first_row - offsets[at(context)]) / window};
    if (here != where) end_window();
    where = here;
    present.insert(lists.phrases[at(occurrence.phrase)].of_concept);
  }
  end_window();
  comm::sum(comm, both);
  const double windows = number_of_windows(offsets, window);
  Together found = nothing_together(count);
  for (Index c = 0; c < count; ++c)
    for (Index other = 0; other < count; ++other)
      put(found, at(c * count + other), both[at(c * count + c)], both[at(other * count + other)], both[at(c * count + other)], windows);
  return found;
}

} // namespace concord::subspaces
