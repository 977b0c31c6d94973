#include "concord/comm/collectives.hpp"
#include "concord/comm/node/node_floats.hpp"

#include "support/support.hpp"
#include <numeric>

namespace concord::comm {
namespace {

using test::world;

TEST(NodeFloats, AreThoseOfRankZeroOnceANode) {
  const bool root = world().rank() == 0;
  std::vector<float> values(70000);
  std::iota(values.begin(), values.end(), 1.0F);
  NodeFloats first(root ? values : std::vector<float>{-1, -2});
  NodeFloats second(root ? std::vector<float>{7, 8, 9} : std::vector<float>{});
  NodeFloats none;
  move_to_nodes(world(), {&first, &none, &second});
  EXPECT_EQ(first, NodeFloats(values));
  EXPECT_EQ(second, (NodeFloats{7, 8, 9}));
  EXPECT_TRUE(none.empty());
  EXPECT_TRUE(first.on_node());
  world().barrier();
  if (node_rank(world()) == 0) first[5] = -5; // the node's number is everybody's there
  world().barrier();
  EXPECT_EQ(first[5], -5);
  NodeFloats copy = first;
  first = {};
  EXPECT_EQ(copy[5], -5) << "the array lives as long as one of its parts";
}

TEST(NodeFloats, OfAProcessItselfAreItsOwn) {
  NodeFloats a{1, 2, 3};
  NodeFloats b = a;
  b[0] = 9;
  EXPECT_EQ(a[0], 1);
  EXPECT_FALSE(a.on_node());
  const NodeFloats c = std::move(b);
  EXPECT_EQ(c, (NodeFloats{9, 2, 3}));
}

} // namespace
} // namespace concord::comm
