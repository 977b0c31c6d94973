#include "concord/dist/partition.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace concord::dist {
namespace {

TEST(Partition, CoversDisjointlyInOrderAndEvenly) {
  for (Index n = 0; n < 30; ++n)
    for (int parts = 1; parts < 9; ++parts) {
      const Partition p{n, parts};
      EXPECT_EQ(p.begin(0), 0);
      EXPECT_EQ(p.end(parts - 1), n);
      for (int part = 0; part < parts; ++part) {
        EXPECT_GE(p.size(part), n / parts);
        EXPECT_LE(p.size(part), n / parts + 1);
        for (Index i = p.begin(part); i < p.end(part); ++i) EXPECT_EQ(p.owner(i), part);
      }
    }
}

TEST(BlockCyclic, RoundTripsAndCountsLikeNumroc) {
  for (Index n = 1; n < 40; ++n)
    for (Index block : {1, 2, 3, 7, 64})
      for (int parts = 1; parts < 5; ++parts) {
        const BlockCyclic d{n, block, parts};
        std::vector<Index> counts(static_cast<std::size_t>(parts), 0);
        for (Index i = 0; i < n; ++i) {
          EXPECT_EQ(d.owner(i), (i / block) % parts);
          ++counts[static_cast<std::size_t>((i / block) % parts)];
          EXPECT_EQ(d.global(d.local(i), d.owner(i)), i);
        }
        for (int part = 0; part < parts; ++part) EXPECT_EQ(d.size(part), counts[static_cast<std::size_t>(part)]);
      }
}

} // namespace
} // namespace concord::dist
