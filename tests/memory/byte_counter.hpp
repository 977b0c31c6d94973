#pragma once
// Counts the bytes that this process holds in large blocks: of its own, from malloc and its kin, and in memory that it shares with others
// (comm::NodeArray). Linked into a test it takes the place of the library's functions.
#include <cstddef>

namespace concord::test {

/// Blocks of at least so many bytes are counted.
inline constexpr std::size_t counted_block = std::size_t{32} << 10;

struct Bytes {
  double own = 0;
  double shared = 0;
};
Bytes bytes_now();
/// The most of each since start_counting().
Bytes most_bytes();
void start_counting();

} // namespace concord::test
