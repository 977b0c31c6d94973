// POP's metrics of a stage against numbers worked by hand, and what a run of a stage leaves.
#include "concord/core/progress.hpp"
#include "concord/core/run/spent.hpp"

#include "app/results/profile.hpp"
#include "support/support.hpp"
#include <fstream>
#include <thread>

namespace concord::app {
namespace {

RankTimes rank_of(double elapsed, double mpi, double files, double node) {
  return {.elapsed = elapsed, .mpi = mpi, .files = files, .calls = 3, .bytes = 100, .node = node};
}

TEST(Profile, MetricsArePops) {
  // Useful: 8, 6, 4, 2 of 10 seconds; nodes {8, 6} and {4, 2}.
  const std::vector<RankTimes> ranks{rank_of(10, 1, 1, 0), rank_of(10, 2, 2, 0), rank_of(10, 5, 1, 2), rank_of(10, 8, 0, 2)};
  const auto m = pop_metrics(ranks);
  EXPECT_EQ(m["numMpiRanks"], 4);
  EXPECT_EQ(m["numNodes"], 2);
  EXPECT_EQ(m["elapsedTime"], 10'000'000'000);
  EXPECT_EQ(m["usefulTime"], 20'000'000'000);
  EXPECT_EQ(m["mpiTime"], 16'000'000'000);
  EXPECT_EQ(m["numMpiCalls"], 12);
  EXPECT_DOUBLE_EQ(m["mpiLoadBalance"], 5.0 / 8);
  EXPECT_DOUBLE_EQ(m["mpiLoadBalanceIn"], 7.0 / 8);  // the busier node's mean over the busiest rank
  EXPECT_DOUBLE_EQ(m["mpiLoadBalanceOut"], 5.0 / 7); // the mean of all over the busier node's
  EXPECT_DOUBLE_EQ(m["mpiCommunicationEfficiency"], 8.0 / 10);
  EXPECT_DOUBLE_EQ(m["parallelEfficiency"], 5.0 / 10); // useful time over all time
  const auto& seconds = m["seconds"];
  EXPECT_DOUBLE_EQ(seconds["communication"], 1);
  EXPECT_DOUBLE_EQ(seconds["waiting"]["max"], 7);
  EXPECT_DOUBLE_EQ(seconds["waiting"]["mean"], 3);
  EXPECT_DOUBLE_EQ(seconds["files"]["mean"], 1);
  EXPECT_DOUBLE_EQ(seconds["useful"]["min"], 2);
}

TEST(Profile, WhatGpusExchangeIsCommunication) {
  auto one = rank_of(10, 1, 1, 0), other = rank_of(10, 3, 1, 0);
  one.gpu = 4;   // useful: 4; communication: 5
  other.gpu = 2; // 4; 5
  const auto m = pop_metrics(std::vector<RankTimes>{one, other});
  EXPECT_EQ(m["usefulTime"], 8'000'000'000);
  EXPECT_EQ(m["mpiTime"], 10'000'000'000);
  EXPECT_DOUBLE_EQ(m["mpiCommunicationEfficiency"], 0.4);
  EXPECT_DOUBLE_EQ(m["seconds"]["communication"], 5);
  EXPECT_DOUBLE_EQ(m["seconds"]["waiting"]["max"], 0);
}

TEST(Profile, GpusExchangeNoLongerThanTheStageTakes) {
  const auto folder = test::empty_folder("profile_gpu");
  StageProfile profile(test::world(), "train-sae");
  note_gpu_exchange(1e6); // as if all of it went by while this thread waited elsewhere
  say_stage_ok("train-sae", 0, "", "nowhere");
  profile.finish("train-sae", folder);
  test::world().barrier();
  const auto stage = nlohmann::json::parse(std::ifstream(folder / "profile.json"))["Application"]["train-sae"];
  EXPECT_EQ(stage["usefulTime"], 0);
  EXPECT_LE(stage["seconds"]["communication"], stage["seconds"]["elapsed"]);
  EXPECT_GT(stage["mpiTime"], 0);
}

TEST(Profile, AStageThatDoesNothingHasFullEfficiency) {
  const auto m = pop_metrics(std::vector<RankTimes>{rank_of(0, 0, 0, 0)});
  EXPECT_DOUBLE_EQ(m["parallelEfficiency"], 1);
}

TEST(Spent, TheOutermostCountsAndOnlyOnTheMainThread) {
  const Spent before = spent();
  {
    const Spend files(Spending::files, "outer");
    const Spend mpi(Spending::mpi, "inner");
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  std::thread([] {
    const Spend mpi(Spending::mpi, "elsewhere");
    note_file_bytes(7);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }).join();
  const Spent all = spent() - before;
  EXPECT_GE(all.files, 0.02);
  EXPECT_EQ(all.mpi, 0);
  EXPECT_EQ(all.calls, 0);
  EXPECT_EQ(all.bytes, 7);
}

TEST(Spent, WaitingForARankIsTimeInMpi) {
  const Spent before = spent();
  if (test::world().rank() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(60));
  const double begin = steady_seconds();
  test::world().barrier();
  const double there = steady_seconds() - begin; // as long as this rank was in the barrier, however the machine is loaded
  const Spent all = spent() - before;
  EXPECT_GE(all.calls, 1);
  EXPECT_GT(all.mpi, 0);
  EXPECT_LE(all.mpi, there);
}

TEST(Spent, ExchangesOfGpusStandApart) {
  const Spent before = spent();
  note_gpu_exchange(0.25);
  note_gpu_exchange(0.5);
  const Spent all = spent() - before;
  EXPECT_DOUBLE_EQ(all.gpu, 0.75);
  EXPECT_EQ(all.mpi, 0);
}

TEST(Spent, ATraceIsJsonOfSpans) {
  keep_trace();
  const double begin = steady_seconds();
  { const Spend mpi(Spending::mpi, "MPI_Barrier"); }
  const auto trace = nlohmann::json::parse(take_trace("encode", 3, begin));
  ASSERT_EQ(trace["traceEvents"].size(), 2U);
  EXPECT_EQ(trace["traceEvents"][0]["name"], "encode");
  EXPECT_EQ(trace["traceEvents"][1]["name"], "MPI_Barrier");
  EXPECT_EQ(trace["traceEvents"][1]["pid"], 3);
  EXPECT_EQ(trace["traceEvents"][1]["ph"], "X");
}

} // namespace
} // namespace concord::app
