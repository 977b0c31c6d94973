#include "concord/comm/decided.hpp"

#include "support/support.hpp"

namespace concord::comm {
namespace {

using test::world;

TEST(Decided, GivesEveryRankTheFirstOnesResult) {
  EXPECT_EQ(decided(world(), [] { return world().rank() + 7; }), 7);
  EXPECT_FALSE(decided(world(), [] { return world().rank() > 0; }));
  EXPECT_EQ(decided(world(), [] { return "rank " + std::to_string(world().rank()); }), "rank 0");
  const auto texts = decided(world(), [] { return std::vector<std::string>(static_cast<std::size_t>(3 + world().rank()), "a"); });
  EXPECT_EQ(texts, std::vector<std::string>(3, "a"));
  EXPECT_EQ(decided(world(), [] { return std::vector<int>{world().rank()}; }), std::vector<int>{0});
}

TEST(Decided, GivesEveryRankTheFirstOnesError) {
  test::expect_error(ExitCode::io, "no such disk", [] { decided(world(), []() -> int { fail(ExitCode::io, "no such disk"); }); });
  EXPECT_EQ(decided(world(),
                    []() -> int { // what other ranks would meet does not count
                      if (world().rank() > 0) fail(ExitCode::io, "no such disk");
                      return 3;
                    }),
            3);
}

TEST(RequireSame, NamesTheFirstRankThatDiffers) {
  require_same(world(), "the same", [](const std::string&) { return std::string(); });
  if (world().size() == 1) return;
  const std::string mine = world().rank() == 0 ? "root" : "other " + std::to_string(world().rank());
  test::expect_error(ExitCode::config, "rank 1 on ",
                     [&] { require_same(world(), mine, [&](const std::string& root) { return mine + " is not " + root; }); });
  test::expect_error(ExitCode::config, "other 1 is not root",
                     [&] { require_same(world(), mine, [&](const std::string& root) { return mine + " is not " + root; }); });
}

} // namespace
} // namespace concord::comm
