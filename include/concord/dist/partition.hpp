#pragma once
/// Who owns which of n things: contiguous shares that differ by at most one. Arithmetic alone, no data. Local.

#include "concord/core/index.hpp"

#include <algorithm>

namespace concord::dist {

/// n items over `parts` owners in order; the first n % parts owners hold one more. Shares may be empty.
///
///   Partition{10, 4}:  owner 0 [0,3)  1 [3,6)  2 [6,8)  3 [8,10)
struct Partition {
  Index n = 0;
  int parts = 1;
  Index begin(int part) const { return part * (n / parts) + std::min<Index>(part, n % parts); }
  Index end(int part) const { return begin(part + 1); }
  Index size(int part) const { return end(part) - begin(part); }
  int owner(Index i) const {
    const Index large = n / parts + 1;
    const Index in_large = (n % parts) * large;
    return static_cast<int>(i < in_large ? i / large : n % parts + (i - in_large) / std::max<Index>(1, n / parts));
  }
};

/// One dimension of a block-cyclic distribution (ScaLAPACK's, source process 0).
///
///   BlockCyclic{7, 2, 2}:  global 0 1 2 3 4 5 6  ->  owner 0 0 1 1 0 0 1, local 0 1 0 1 2 3 2
struct BlockCyclic {
  Index n = 0;
  Index block = 1;
  int parts = 1;
  int owner(Index i) const { return static_cast<int>(i / block % parts); }
  Index local(Index i) const { return i / (block * parts) * block + i % block; }
  Index global(Index l, int part) const { return (l / block * parts + part) * block + l % block; }
  /// Items that `part` owns (numroc).
  Index size(int part) const {
    const Index blocks = n / block;
    Index count = blocks / parts * block;
    if (part < blocks % parts) count += block;
    if (part == blocks % parts) count += n % block;
    return count;
  }
};

} // namespace concord::dist
