// A crash says one line and where it was, and ends with 70.
#include "concord/comm/watch/crash.hpp"

#include "support/support.hpp"
#include <csignal>
#include <cstdlib>

namespace concord::comm {
namespace {

using testing::ExitedWithCode;

TEST(CrashDeathTest, SaysOneLineAndEndsWith70) {
  if (test::world().size() > 1) GTEST_SKIP() << "on one rank: 3 s each";
  EXPECT_EXIT(
      {
        explain_crashes();
        std::abort();
      },
      ExitedWithCode(70), "concord: error: a crash \\(SIGABRT.*which is a bug");
  EXPECT_EXIT(
      {
        explain_crashes();
        std::raise(SIGSEGV);
      },
      ExitedWithCode(70), "SIGSEGV, a bad address");
}

TEST(CrashDeathTest, AForeignInstructionNamesTheRemedy) {
  if (test::world().size() > 1) GTEST_SKIP() << "on one rank: 3 s each";
  EXPECT_EXIT(
      {
        explain_crashes();
        std::raise(SIGILL);
      },
      ExitedWithCode(69), "SIGILL.*build with the CONCORD_ARCH");
}

/// The handler has a stack of its own.
int deeper(volatile int* below) {
  if (*below == 0) return 0;
  volatile int here[4096] = {*below};
  return deeper(here) + here[1];
}

TEST(CrashDeathTest, AFullStackIsSaid) {
  if (test::world().size() > 1) GTEST_SKIP() << "on one rank: 3 s each";
  EXPECT_EXIT(
      {
        explain_crashes();
        volatile int start = 1;
        std::exit(deeper(&start));
      },
      ExitedWithCode(70), "SIGSEGV");
}

} // namespace
} // namespace concord::comm
