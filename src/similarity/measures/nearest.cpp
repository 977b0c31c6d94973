#include "similarity/measures/nearest.hpp"

#include "concord/comm/collectives.hpp"
#include "concord/core/at.hpp"
#include "concord/core/philox.hpp"
#include "concord/dist/partition.hpp"

#include <algorithm>

namespace concord::similarity {
namespace {

constexpr std::uint32_t factors[] = {0x9E3779B1U, 0x85EBCA77U, 0xC2B2AE3DU};
constexpr unsigned shifts[] = {15, 13, 16};

constexpr std::uint32_t inverse(std::uint32_t odd) {
  std::uint32_t x = odd; // right in 3 bits; each step of Newton's doubles them
  for (int i = 0; i < 5; ++i) x *= 2 - odd * x;
  return x;
}

std::uint32_t unshifted(std::uint32_t x, unsigned shift) {
  std::uint32_t out = x;
  for (unsigned known = shift; known < 32; known += shift) out = x ^ (out >> shift);
  return out;
}

} // namespace

TieOrder::TieOrder(Index items, std::uint64_t seed, int side) {
  const Philox random(seed, "ties", static_cast<std::uint64_t>(side));
  for (Index i = 0; i < items; ++i) salts_.push_back(random.bits(static_cast<std::uint64_t>(i)));
}

std::uint32_t TieOrder::place(Index item, std::uint32_t other) const {
  const auto salt = salts_[at(item)];
  auto x = other ^ static_cast<std::uint32_t>(salt);
  for (int i = 0; i < 3; ++i) {
    x *= factors[i];
    x ^= x >> shifts[i];
    if (i == 0) x += static_cast<std::uint32_t>(salt >> 32U);
  }
  return x;
}

std::uint32_t TieOrder::other(Index item, std::uint32_t place) const {
  const auto salt = salts_[at(item)];
  auto x = place;
  for (int i = 2; i >= 0; --i) {
    if (i == 0) x -= static_cast<std::uint32_t>(salt >> 32U);
    x = unshifted(x, shifts[i]) * inverse(factors[i]);
  }
  return x ^ static_cast<std::uint32_t>(salt);
}

Nearest::Nearest(Index items, Index k, const TieOrder& ties) : k_(k), ties_(&ties), lists_(at(items * k), ~std::uint64_t{0}) {}

void Nearest::insert(Index item, std::uint64_t entry) {
  auto* list = lists_.data() + item * k_;
  Index place = k_ - 1;
  if (entry >= list[place]) return;
  for (; place > 0 && list[place - 1] > entry; --place) list[place] = list[place - 1];
  list[place] = entry;
}

void Nearest::merge(Index first, const std::uint64_t* lists, Index count) {
  for (Index e = 0; e < count; ++e) insert(first + e / k_, lists[e]);
}

/// Each rank merges the lists of its share of the items, so that none holds the lists of all ranks.
void Nearest::merge_ranks(const comm::Communicator& comm) {
  if (comm.size() == 1 || k_ == 0 || lists_.empty()) return;
  const dist::Partition share{static_cast<Index>(lists_.size()) / k_, comm.size()};
  std::vector<Index> begin;
  std::vector<Index> count;
  std::vector<Index> rows;
  for (int r = 0; r < comm.size(); ++r) {
    begin.push_back(share.begin(r) * k_);
    rows.push_back(share.size(r));
    count.push_back(share.size(r) * k_);
  }
  const auto came = comm::exchange(comm, lists_, begin, count);
  const Index mine = count[static_cast<std::size_t>(comm.rank())];
  for (Index from = 0; mine > 0 && from < static_cast<Index>(came.size()) / mine; ++from)
    if (from != comm.rank()) merge(share.begin(comm.rank()), came.data() + from * mine, mine);
  const std::vector<std::uint64_t> own(lists_.begin() + begin[static_cast<std::size_t>(comm.rank())],
                                       lists_.begin() + begin[static_cast<std::size_t>(comm.rank())] + mine);
  comm::all_gather_rows(comm, own.data(), rows, k_ * static_cast<Index>(sizeof(std::uint64_t)), lists_.data());
}

Neighbours Nearest::neighbours() const {
  Neighbours result{k_, {}};
  result.items.reserve(lists_.size());
  for (std::size_t e = 0; e < lists_.size(); ++e)
    result.items.push_back(static_cast<std::int32_t>(ties_->other(static_cast<Index>(e) / k_, static_cast<std::uint32_t>(lists_[e]))));
  for (auto row = result.items.begin(); row != result.items.end(); row += k_) std::sort(row, row + k_);
  return result;
}

} // namespace concord::similarity
