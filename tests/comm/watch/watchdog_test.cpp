#include "concord/comm/collectives.hpp"
#include "concord/comm/watch/watchdog.hpp"
#include "concord/core/run/heartbeat.hpp"

#include <mpi.h>

#include "comm/watch/watchdog_meeting.hpp"
#include "comm/watch/watchdog_states.hpp"
#include "support/support.hpp"
#include <chrono>
#include <memory>
#include <thread>

namespace concord::comm {
namespace {

using Kind = RankState::Kind;
using test::world;

constexpr Index allowed = 100;
constexpr Index now = 100'000;

/// A rank whose thread ran, and that made progress and used its processor, so long ago.
RankState state(Index seen, Index beat, Index busy, int call, int outside = 0) {
  RankSlot slot;
  slot.rank = 3;
  slot.seen = now - seen;
  slot.beat = now - beat;
  slot.busy = now - busy;
  slot.call = call;
  slot.outside = outside;
  slot.set_place("extract: 3/9 tokens");
  return state_of(slot, now, allowed);
}

TEST(Watchdog, KnowsWhoWorksWaitsOrIsMissing) {
  EXPECT_EQ(state(1, 1, 1, 0).kind, Kind::works);
  EXPECT_EQ(state(1, 500, 1, 0).kind, Kind::works); // computes without a sign
  EXPECT_EQ(state(1, 500, 500, 0).kind, Kind::missing);
  EXPECT_EQ(state(1, 1500, 1, 0).kind, Kind::missing);
  EXPECT_EQ(state(1, 1500, 1500, 0, 1).kind, Kind::works); // another program does the work
  EXPECT_EQ(state(1, 50, 1, 1).kind, Kind::works);
  EXPECT_EQ(state(1, 500, 1, 1).kind, Kind::waits);
  EXPECT_EQ(state(200, 200, 200, 1).kind, Kind::missing); // stopped, wherever it is
  EXPECT_NE(state(1, 500, 1, 1).text.find("in MPI_Barrier, extract: 3/9 tokens"), std::string::npos);
}

std::vector<RankState> states(const std::string& kinds) {
  std::vector<RankState> all;
  for (const char kind : kinds)
    all.push_back({static_cast<Index>(all.size()), 0,
                   kind == 'm'   ? Kind::missing
                   : kind == 'w' ? Kind::waits
                                 : Kind::works,
                   true, std::string("is ") + kind});
  return all;
}

TEST(Watchdog, EndsWhereRanksWaitInVain) {
  EXPECT_TRUE(is_stalled(states("wmw")));
  EXPECT_TRUE(is_stalled(states("wmo")));
  EXPECT_TRUE(is_stalled(states("www")));
  EXPECT_TRUE(is_stalled(states("m")));
  EXPECT_FALSE(is_stalled(states("wwo")));
  EXPECT_FALSE(is_stalled(states("ooo")));
  EXPECT_FALSE(is_stalled(states("omo"))); // nobody waits for it yet
  const auto text = told(states("wmwo"), 60);
  EXPECT_NE(text.find("rank 1 is missing"), std::string::npos) << text;
  EXPECT_NE(text.find("ranks 0, 2: is w"), std::string::npos) << text;
  EXPECT_NE(told(states("ww"), 60).find("all ranks wait for each other"), std::string::npos);
}

TEST(Watchdog, SeesCallsOfMpi) {
  EXPECT_EQ(mpi_call_now(), 0);
  const auto before = heartbeat().beats.load();
  world().barrier();
  EXPECT_EQ(mpi_call_now(), 0);
  EXPECT_GE(heartbeat().beats.load(), before + 2);
  EXPECT_STREQ(mpi_call_name(1), "MPI_Barrier");
  if (world().size() == 1) return;
  if (world().rank() == 0) { // while the main thread waits for the message, another one sees where it is
    int seen = 0;
    std::thread watcher([&] {
      while (mpi_call_now() == 0) std::this_thread::yield();
      seen = mpi_call_now();
      const int done = 1;
      static_cast<void>(done);
    });
    int value = 0;
    MPI_Recv(&value, 1, MPI_INT, 1, 5, world(), MPI_STATUS_IGNORE);
    watcher.join();
    EXPECT_STREQ(mpi_call_name(seen), "MPI_Recv");
  } else if (world().rank() == 1) {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    const int value = 1;
    MPI_Send(&value, 1, MPI_INT, 0, 5, world());
  }
  world().barrier();
}

/// Two nodes of two ranks, one speaker each, in one process.
TEST(Watchdog, NodesHearEachOther) {
  const auto folder = test::empty_folder("meeting");
  if (world().rank() != 0) return;
  Meeting a("stall");
  Meeting b("stall");
  a.nodes = b.nodes = {{0, {0, 2}}, {1, {1, 3}}}; // placed in turn
  const auto of = [](Index first, const std::string& kinds) {
    auto all = states(kinds);
    for (auto& one : all) one.rank = first + 2 * one.rank;
    return all;
  };
  std::vector<RankState> all;
  EXPECT_FALSE(a.hear(folder, of(0, "oo"), 10, all));
  EXPECT_TRUE(std::filesystem::is_empty(folder));     // nothing is written while nothing is suspected
  EXPECT_FALSE(a.hear(folder, of(0, "ww"), 10, all)); // the other one has not answered yet
  EXPECT_FALSE(b.hear(folder, of(1, "oo"), 10, all)); // answers, and judges nothing
  EXPECT_TRUE(a.hear(folder, of(0, "ww"), 10, all));
  EXPECT_FALSE(is_stalled(all));
  b.hear(folder, of(1, "om"), 10, all);
  EXPECT_TRUE(a.hear(folder, of(0, "ww"), 10, all));
  EXPECT_EQ(all.size(), 4U);
  EXPECT_TRUE(is_stalled(all));
  EXPECT_NE(told(all, 10).find("rank 3 is missing"), std::string::npos);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_TRUE(a.hear(folder, of(0, "ww"), 0.001, all)); // the other node has said nothing new
  EXPECT_NE(told(all, 10).find("ranks 1, 3 are missing"), std::string::npos);
  EXPECT_TRUE(a.first_to_tell());
  EXPECT_FALSE(a.first_to_tell());
  a.leave();
  EXPECT_TRUE(std::filesystem::is_empty(folder));
}

TEST(Watchdog, LeavesAWorkingJobAlone) {
  for (int i = 0; i < 3; ++i) {
    const Watchdog watchdog(world(), 30);
    for (int j = 0; j < 100; ++j) max_of(world(), Index{j});
  }
  const Watchdog none(world(), 0);
}

} // namespace
} // namespace concord::comm
