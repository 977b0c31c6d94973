#pragma once
/// The nearest neighbours of all items, gathered from tiles of an RDM.

#include "concord/comm/session.hpp"
#include "concord/similarity/measures/mutual_knn.hpp"

#include <cstdint>
#include <vector>

namespace concord::similarity {

/// Numbers of items in an order of their own for each item, seed and side: which of several neighbours at the same distance counts as the
/// nearer. An order that two sides shared would make neighbours agree where they are chosen by it. A one-to-one map of 32 bits.
class TieOrder {
public:
  TieOrder(Index items, std::uint64_t seed, int side);
  std::uint32_t place(Index item, std::uint32_t other) const;
  std::uint32_t other(Index item, std::uint32_t place) const;

private:
  std::vector<std::uint64_t> salts_; ///< of each item
};

/// The k nearest items of every item so far, as (dissimilarity, place) in one number: the smaller, the nearer.
class Nearest {
public:
  Nearest(Index items, Index k, const TieOrder& ties);
  void offer(Index item, std::uint32_t dissimilarity, Index other) {
    const auto near = std::uint64_t{dissimilarity} << 32U;
    if (near < lists_[static_cast<std::size_t>((item + 1) * k_ - 1)])
      insert(item, near | ties_->place(item, static_cast<std::uint32_t>(other)));
  }
  /// Takes in the lists of items [first, ...).
  void merge(Index first, const std::uint64_t* lists, Index count);
  void merge(const Nearest& other) { merge(0, other.lists_.data(), static_cast<Index>(other.lists_.size())); }
  /// Takes in those of all other ranks. Collective.
  void merge_ranks(const comm::Communicator& comm);
  Neighbours neighbours() const;

private:
  void insert(Index item, std::uint64_t entry);
  Index k_;
  const TieOrder* ties_;
  std::vector<std::uint64_t> lists_;
};

} // namespace concord::similarity
