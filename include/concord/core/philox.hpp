#pragma once
/// Counter-based random numbers (Philox4x32-10, Salmon et al. 2011) and a counter-based permutation. Local.
///
/// Every draw is a pure function of (seed, purpose, index), so results do not depend on ranks, order or restarts.

#include "concord/core/index.hpp"

#include <array>
#include <string_view>
#include <vector>

namespace concord {

/// One Philox4x32-10 block.
std::array<std::uint32_t, 4> philox_block(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key);

/// A stream of draws keyed by a seed, a purpose (a word such as "null") and up to two numbers (layer, permutation).
class Philox {
public:
  Philox(std::uint64_t seed, std::string_view purpose, std::uint64_t a = 0, std::uint64_t b = 0);
  /// The i-th 64-bit number of the stream.
  std::uint64_t bits(std::uint64_t i) const;
  /// The i-th uniform in (0, 1).
  double uniform(std::uint64_t i) const;
  /// The i-th standard normal (Box-Muller on one block).
  double normal(std::uint64_t i) const;
  /// The i-th uniform integer in [0, n), by multiply-shift (bias below n / 2^64).
  std::uint64_t below(std::uint64_t i, std::uint64_t n) const;

private:
  std::array<std::uint32_t, 2> key_;
  std::uint64_t high_;
};

/// A pseudo-random permutation of [0, n) evaluated at any point without storing it: a Feistel network over the next
/// power of four, walked until it lands inside [0, n).
class IndexPermutation {
public:
  IndexPermutation(Index n, const Philox& random);
  Index operator()(Index i) const;
  Index size() const { return n_; }

private:
  Index n_;
  int half_bits_;
  std::array<std::uint64_t, 6> round_keys_;
};

/// A uniform random permutation of [0, n) as a vector (Fisher-Yates on the stream).
std::vector<Index> shuffled(Index n, const Philox& random);

} // namespace concord
