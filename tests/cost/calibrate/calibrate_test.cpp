// Constants from times that are known, and a calibration at any number of ranks.
#include "concord/comm/collectives.hpp"
#include "concord/comm/decided.hpp"
#include "concord/comm/stop.hpp"
#include "concord/cost/calibrate/calibrate.hpp"

#include "cost/calibrate/links.hpp"
#include "cost/calibrate/probe.hpp"
#include "support/support.hpp"
#include <cmath>
#include <csignal>
#include <ctime>

namespace concord::cost {
namespace {

using test::empty_folder;
using test::expect_error;
using test::world;

TEST(Fit, LeastSquaresAreNeverNegative) {
  // 2 a + 3 b = 8, a + b = 3: a = 1, b = 2.
  const auto exact = least_squares({{2, 1}, {3, 1}}, std::vector<double>{8, 3});
  EXPECT_NEAR(exact[0], 1, 1e-12);
  EXPECT_NEAR(exact[1], 2, 1e-12);
  // a = 1, a + b = 0 has b = -1; with b = 0 the best a is 1/2.
  const auto clamped = least_squares({{1, 1}, {0, 1}}, std::vector<double>{1, 0});
  EXPECT_NEAR(clamped[0], 0.5, 1e-12);
  EXPECT_EQ(clamped[1], 0);
}

TEST(Fit, RatesComeBackFromTheTimesThatTheyGive) {
  Machine truth = default_machine(1);
  truth.rates[static_cast<std::size_t>(Work::product_f64)] = {3e10, 3e10, 70};
  truth.rates[static_cast<std::size_t>(Work::rows)] = {2e9, 2e9, 0};
  truth.rates[static_cast<std::size_t>(Work::weights)] = {5e8, 5e8, 0};
  const std::vector<Probe> probes{{"a", {{Work::product_f64, 1e9, 100}, {Work::text, 1e5}}, {}},
                                  {"b", {{Work::product_f64, 4e9, 1000}}, {}},
                                  {"c", {{Work::rows, 1e9}, {Work::weights, 1e6}}, {}},
                                  {"d", {{Work::rows, 1e7}, {Work::weights, 1e8}}, {}}};
  std::vector<double> seconds;
  for (const Probe& probe : probes) seconds.push_back(seconds_of(probe.amounts, truth));
  Machine fitted = default_machine(1); // which knows text as the truth does
  fit(probes, seconds, std::vector<Work>{Work::product_f64, Work::rows, Work::weights}, fitted);
  for (const Work work : {Work::product_f64, Work::rows, Work::weights}) {
    const auto i = static_cast<std::size_t>(work);
    EXPECT_NEAR(fitted.rates[i].alone / truth.rates[i].alone, 1, 1e-9) << word_of(work);
  }
  EXPECT_NEAR(fitted.rates[static_cast<std::size_t>(Work::product_f64)].half, 70, 1e-6);
}

TEST(Fit, AKindThatIsNotSeenHasAFiniteRate) {
  const std::vector<Probe> probes{{"a", {{Work::rows, 100}}, {}}, {"b", {{Work::rows, 100}, {Work::weights, 10}}, {}}};
  Machine fitted = default_machine(1);
  fit(probes, std::vector<double>{1, 0.9}, std::vector<Work>{Work::rows, Work::weights}, fitted); // more work in less time
  const double rate = fitted.rates[static_cast<std::size_t>(Work::weights)].alone;
  EXPECT_NEAR(10 / rate / 0.9, 0.01, 1e-12); // a hundredth of the probe
}

TEST(Timed, RunsEndWithTheirNumberOrTheirTime) {
  int runs = 0;
  const auto run = [&] { ++runs; };
  timed(world(), true, {5, 1e9}, run);
  EXPECT_EQ(runs, 6); // the first is not counted
  runs = 0;
  timed(world(), true, {5, 0}, run);
  EXPECT_EQ(runs, 2);
  runs = 0;
  timed(world(), false, {5, 1e9}, run);
  EXPECT_EQ(runs, 0);
}

/// Keeps the thread busy for so long: no clock of the thread ticks less.
void work_for(double wanted) {
  timespec begin{}, now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
  do clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  while (static_cast<double>(now.tv_sec - begin.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec - begin.tv_nsec) < wanted);
}

TEST(Timed, RanksOfAnySpeedMakeTheSameNumberOfRuns) {
  const bool slow = world().rank() == world().size() - 1;
  for (const double seconds : {0.1, 0.6}) { // of the slow rank; the others are done at once
    Index runs = 0;
    timed(world(), true, {1000, 0.5}, [&] {
      ++runs;
      if (slow) work_for(seconds);
    });
    EXPECT_EQ(comm::max_of(world(), runs), -comm::max_of(world(), -runs)) << seconds;
    EXPECT_GE(runs, seconds > 0.5 ? 1 : 2);
    EXPECT_LE(runs, seconds > 0.5 ? 1 : 5); // a busy machine may make a run longer, never shorter
  }
}

TEST(Timed, WhatOneRankThrowsEndsAll) {
  for (const int failing : {1, 2}) { // in the first run, or one that counts
    int runs = 0;
    expect_error(ExitCode::io, "no more", [&] {
      timed(world(), true, {3, 1e9}, [&] {
        if (++runs == failing && world().rank() == world().size() - 1) fail(ExitCode::io, "no more");
      });
    });
  }
}

TEST(Timed, ALongFirstRunIsTheOnlyOne) {
  int runs = 0;
  const double seconds = timed(world(), true, {5, 1e9}, [&] {
    ++runs;
    work_for(0.6);
  });
  EXPECT_EQ(runs, 1);
  EXPECT_GE(seconds, 0.6);
}

bool is_positive(double value) {
  return std::isfinite(value) && value > 0;
}

TEST(Calibrate, EveryConstantIsFiniteAndTheSameOnEveryRank) {
  const auto folder = empty_folder("calibrate");
  CalibrateOptions options;
  options.work = folder;
  options.out = folder / "machine.json";
  options.repeats = 1;
  options.seconds = 0; // each measurement once
  options.file_mib = 1;
  options.part = 1.0 / 16;
  const auto calibration = calibrate(world(), options);
  const Machine& m = calibration.machine;
  for (std::size_t i = 0; i < kinds_of_work; ++i) {
    EXPECT_TRUE(is_positive(m.rates[i].alone)) << words_of_work()[i];
    EXPECT_TRUE(is_positive(m.rates[i].together)) << words_of_work()[i];
    EXPECT_TRUE(std::isfinite(m.rates[i].half) && m.rates[i].half >= 0) << words_of_work()[i];
  }
  for (const double value : {m.memory, m.within.latency, m.within.bandwidth, m.between.latency, m.between.bandwidth, m.reads.rank,
                             m.reads.node, m.reads.all, m.writes.rank, m.writes.node, m.writes.all})
    EXPECT_TRUE(is_positive(value));
  EXPECT_EQ(m.ranks_a_node, world().size());
  EXPECT_NE(m.source.find("not measured: text"), std::string::npos) << m.source;
  EXPECT_EQ(m.source.find("messages within a node") == std::string::npos, world().size() > 1) << m.source;
  world().barrier();
  auto again = to_json(read_machine(options.out));
  EXPECT_EQ(again, to_json(m));
  std::string of_root = again.dump();
  comm::spread(world(), of_root);
  EXPECT_EQ(of_root, again.dump());
  Index left = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder)) ++left;
  EXPECT_EQ(left, 1); // the machine file alone
}

TEST(Calibrate, StopsAndLeavesNothing) {
  const auto folder = empty_folder("stopped");
  comm::install_stop_flag(0);
  if (world().rank() == 0) std::raise(SIGUSR1);
  expect_error(ExitCode::stopped, "calibrate", [&] { calibrate(world(), {.work = folder, .repeats = 1, .part = 1.0 / 16}); });
  comm::install_stop_flag(0);
  world().barrier();
  EXPECT_TRUE(std::filesystem::is_empty(folder));
  expect_error(ExitCode::input_missing, "there is no folder", [&] { calibrate(world(), {.work = folder / "none"}); });
}

} // namespace
} // namespace concord::cost
