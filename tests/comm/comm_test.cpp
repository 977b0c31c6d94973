#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/gpu/gpu.hpp"
#include "concord/comm/node/node_array.hpp"
#include "concord/comm/stop.hpp"
#include "concord/core/log.hpp"

#include <boost/mpi/collectives.hpp>
#include <boost/serialization/string.hpp>

#include "comm/message_size.hpp"
#include "comm/node/shared_memory.hpp"
#include "support/support.hpp"
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <memory>
#include <numeric>
#include <set>
#include <sys/resource.h>
#include <thread>
#include <unistd.h>

namespace concord::comm {
namespace {

using test::world;

TEST(Agree, ThrowsTheLowestFailingRanksErrorEverywhere) {
  const int last = world().size() - 1;
  try {
    agree(world(), [&] {
      if (world().rank() == last) fail(ExitCode::io, "rank {} cannot write", last);
    });
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::io);
    EXPECT_TRUE(error.agreed());
    EXPECT_EQ(std::string(error.what()), "rank " + std::to_string(last) + " cannot write");
  }
}

/// Of several failing ranks the lowest one speaks, whichever kind of error the others have.
TEST(Agree, OfSeveralFailingRanksTheLowestSpeaks) {
  const int first = world().size() > 1 ? 1 : 0;
  try {
    agree(world(), [&] {
      if (world().rank() < first) return;
      fail(world().rank() == first ? ExitCode::io : ExitCode::bad_data, "rank {} fails", world().rank());
    });
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::io);
    EXPECT_EQ(std::string(error.what()), "rank " + std::to_string(first) + " fails");
  }
}

TEST(Agree, OutOfMemoryIsAResourceThatIsUnavailable) {
  test::expect_error(ExitCode::unavailable, "out of memory", [&] {
    agree(world(), [&] {
      if (world().rank() == world().size() - 1) throw std::bad_alloc();
    });
  });
  test::expect_error(ExitCode::internal, "odd", [&] { agree(world(), [] { throw std::runtime_error("odd"); }); });
}

TEST(Agree, PassesResultsThrough) {
  EXPECT_EQ(agreed(world(), [] { return 7; }), 7);
}

TEST(AgreeBetweenGroups, ThrowsOneGroupsErrorOnAllRanks) {
  const int groups = std::min(2, world().size());
  const int number = world().rank() * groups / world().size();
  const auto group = world().split(number);
  int done = 0;
  test::expect_error(ExitCode::bad_data, "group 0 cannot read", [&] {
    agree_between_groups(world(), [&] {
      agree(group, [&] {
        if (number == 0) fail(ExitCode::bad_data, "group 0 cannot read");
      });
      done = sum_of(group, Index{1}) == group.size() ? 1 : 0;
    });
  });
  EXPECT_EQ(done, number == 0 ? 0 : 1); // the other group did its work
}

TEST(Collectives, SumMaxAndPrefix) {
  const int size = world().size();
  std::vector<double> values(1000, static_cast<double>(world().rank() + 1));
  sum(world(), values);
  EXPECT_EQ(values.front(), size * (size + 1) / 2.0);
  EXPECT_EQ(values.back(), size * (size + 1) / 2.0);
  EXPECT_EQ(max_of(world(), Index{world().rank()}), size - 1);
  EXPECT_EQ(sum_below(world(), 2), 2 * world().rank());
}

TEST(Collectives, GathersUnevenAndEmptyShares) {
  std::vector<Index> mine(static_cast<std::size_t>(world().rank() % 3)); // ranks 0 and 3 have none
  std::iota(mine.begin(), mine.end(), world().rank() * 10);
  std::vector<Index> expected;
  for (int rank = 0; rank < world().size(); ++rank)
    for (int i = 0; i < rank % 3; ++i) expected.push_back(rank * 10 + i);
  EXPECT_EQ(all_gather(world(), mine), expected);
}

/// Rank s sends rank r the items 100 s + r, r + 1 of them; and to all alike where runs overlap.
TEST(Collectives, ExchangesUnevenAndOverlappingRuns) {
  const int size = world().size();
  std::vector<Index> out, begin, count;
  for (int rank = 0; rank < size; ++rank) {
    begin.push_back(static_cast<Index>(out.size()));
    count.push_back(rank == 1 ? 0 : rank + 1);
    out.insert(out.end(), static_cast<std::size_t>(count.back()), 100 * world().rank() + rank);
  }
  std::vector<Index> expected;
  for (int source = 0; source < size; ++source)
    expected.insert(expected.end(), static_cast<std::size_t>(world().rank() == 1 ? 0 : world().rank() + 1), 100 * source + world().rank());
  EXPECT_EQ(exchange(world(), out, begin, count), expected);

  const std::vector<Index> mine{world().rank(), -world().rank()};
  const auto all =
      exchange(world(), mine, std::vector<Index>(static_cast<std::size_t>(size), 0), std::vector<Index>(static_cast<std::size_t>(size), 2));
  EXPECT_EQ(all, all_gather(world(), mine));
}

TEST(Collectives, GathersEachRanksBytesOneAfterTheOther) {
  const std::vector<char> mine(static_cast<std::size_t>(world().rank() % 2 == 0 ? 3 + world().rank() : 0),
                               static_cast<char>('a' + world().rank()));
  std::vector<std::pair<int, std::string>> seen;
  gather_each(world(), mine, [&](int rank, std::vector<char>& bytes) { seen.emplace_back(rank, std::string(bytes.begin(), bytes.end())); });
  std::vector<std::pair<int, std::string>> expected;
  for (int rank = 0; rank < world().size() && world().rank() == 0; rank += 2)
    expected.emplace_back(rank, std::string(static_cast<std::size_t>(3 + rank), static_cast<char>('a' + rank)));
  EXPECT_EQ(seen, expected);
  test::expect_error(ExitCode::io, "no room", [&] {
    gather_each(world(), std::vector<char>(5, 'x'), [](int, std::vector<char>&) { fail(ExitCode::io, "no room"); });
  });
}

/// Makes messages small while it lives, so that arrays travel in many pieces.
class SmallMessages {
public:
  SmallMessages() { most_a_message = 16; }
  ~SmallMessages() { most_a_message = before_; }
  SmallMessages(const SmallMessages&) = delete;
  SmallMessages& operator=(const SmallMessages&) = delete;

private:
  Index before_ = most_a_message;
};

TEST(Collectives, LargeArraysTravelInPieces) {
  const SmallMessages small;
  const int size = world().size();
  const int rank = world().rank();
  constexpr Index count = 100; // six pieces and a rest
  std::vector<double> doubles;
  std::vector<float> floats;
  std::vector<float> largest;
  std::vector<Index> whole;
  for (Index i = 0; i < count; ++i) {
    doubles.push_back(static_cast<double>(i));
    floats.push_back(static_cast<float>(i));
    largest.push_back(static_cast<float>(i * (rank + 1)));
    whole.push_back(i);
  }
  sum(world(), doubles);
  sum(world(), floats);
  sum(world(), whole);
  max(world(), largest);
  std::vector<std::int32_t> sent;
  for (std::int32_t i = 0; rank == size - 1 && i < count; ++i) sent.push_back(i);
  broadcast(world(), sent, size - 1);
  ASSERT_EQ(sent.size(), static_cast<std::size_t>(count));
  for (Index i = 0; i < count; ++i) {
    const auto place = static_cast<std::size_t>(i);
    EXPECT_EQ(doubles[place], static_cast<double>(i * size));
    EXPECT_EQ(floats[place], static_cast<float>(i * size));
    EXPECT_EQ(largest[place], static_cast<float>(i * size));
    EXPECT_EQ(whole[place], i * size);
    EXPECT_EQ(sent[place], i);
  }
  std::string mine; // 30 bytes of each rank
  for (int i = 0; i < 30; ++i) mine += static_cast<char>('a' + (i + rank) % 26);
  int seen = 0;
  gather_each(world(), mine, [&](int of, std::vector<char>& bytes) {
    ++seen;
    EXPECT_EQ(bytes.size(), 30U);
    for (std::size_t i = 0; i < bytes.size(); ++i) EXPECT_EQ(bytes[i], static_cast<char>('a' + (static_cast<int>(i) + of) % 26));
  });
  EXPECT_EQ(seen, rank == 0 ? size : 0);
}

TEST(Collectives, RowsOfAllRanksStandInRankOrder) {
  const int size = world().size();
  const int rank = world().rank();
  std::vector<Index> counts;
  std::vector<std::int16_t> expected;
  for (int r = 0; r < size; ++r) {
    counts.push_back(r == 1 ? 0 : 2 + r);
    for (Index i = 0; i < 3 * counts.back(); ++i) expected.push_back(static_cast<std::int16_t>(100 * r + i));
  }
  std::vector<std::int16_t> mine;
  for (Index i = 0; i < 3 * counts[static_cast<std::size_t>(rank)]; ++i) mine.push_back(static_cast<std::int16_t>(100 * rank + i));
  std::vector<std::int16_t> all(expected.size(), -1);
  all_gather_rows(world(), mine.data(), counts, 3 * sizeof(std::int16_t), all.data());
  EXPECT_EQ(all, expected);
  std::fill(all.begin(), all.end(), std::int16_t{-1});
  gather_rows(world(), mine.data(), counts, 3 * sizeof(std::int16_t), all.data());
  EXPECT_EQ(all, rank == 0 ? expected : std::vector<std::int16_t>(expected.size(), -1));
}

/// The first rank on the host of each rank. In most runs of this test there is one host (tests/cluster has several).
std::vector<int> first_on_host() {
  std::vector<std::string> names;
  boost::mpi::all_gather(world(), boost::mpi::environment::processor_name(), names);
  std::vector<int> first;
  for (const auto& name : names) first.push_back(static_cast<int>(std::find(names.begin(), names.end(), name) - names.begin()));
  return first;
}

TEST(Collectives, NodesCountAndAddUpTheirRanks) {
  const auto first = first_on_host();
  const auto me = static_cast<std::size_t>(world().rank());
  int size = 0;
  int before = 0;
  double sum = 0;
  for (std::size_t rank = 0; rank < first.size(); ++rank) {
    if (first[rank] != first[me]) continue;
    before += rank < me ? 1 : 0;
    ++size;
    sum += static_cast<double>(rank) + 1;
  }
  EXPECT_EQ(node_rank(world()), before);
  EXPECT_EQ(node_size(world()), size);
  EXPECT_EQ(sum_on_node(world(), world().rank() + 1.0), sum);
  const auto hosts = host_names(world());
  EXPECT_NE(hosts, "");
  EXPECT_EQ(std::count(hosts.begin(), hosts.end(), ',') + 1, static_cast<int>(std::set<int>(first.begin(), first.end()).size())) << hosts;
}

TEST(Collectives, BroadcastResizes) {
  std::vector<float> values;
  if (world().rank() == 0) values = {1, 2, 3};
  broadcast(world(), values);
  EXPECT_EQ(values, (std::vector<float>{1, 2, 3}));
}

/// How many bytes below the stack pointer a signal changes, those left out that raise() itself takes.
__attribute__((noinline, no_sanitize("address", "undefined"))) int changed_by_signal(int signal) {
  constexpr std::uintptr_t nearest = 1024, furthest = 16384;
  const auto frame = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  for (auto i = nearest; i < furthest; ++i) *reinterpret_cast<volatile char*>(frame - i) = 0x5A;
  std::raise(signal);
  int changed = 0;
  for (auto i = nearest; i < furthest; ++i) changed += *reinterpret_cast<volatile char*>(frame - i) != 0x5A ? 1 : 0;
  return changed;
}

/// Libraries keep values there, or have no stack pointer at all: a handler has a stack of its own.
TEST(Stop, ASignalLeavesAloneWhatIsBelowTheStackPointer) {
  install_stop_flag(0);
  changed_by_signal(SIGWINCH); // ignored; the loader looks up raise()
  EXPECT_EQ(changed_by_signal(SIGWINCH), 0);
  EXPECT_EQ(changed_by_signal(SIGUSR1), 0);
  EXPECT_EQ(changed_by_signal(SIGTERM), 0);
  install_stop_flag(0);
  struct sigaction plain {
  }, before{};
  plain.sa_handler = [](int) {};
  sigaction(SIGWINCH, &plain, &before);
  EXPECT_GT(changed_by_signal(SIGWINCH), 0); // what this test would see
  sigaction(SIGWINCH, &before, nullptr);
}

TEST(Stop, OneRanksSignalIsEveryRanksStop) {
  install_stop_flag(0);
  EXPECT_FALSE(stop_requested(world()));
  if (world().rank() == world().size() - 1) std::raise(SIGUSR1);
  EXPECT_TRUE(stop_requested(world()));
  EXPECT_TRUE(stop_requested(world())); // and it stays
}

TEST(Stop, IsHeededWithinAUnitOnceThatHasTakenLong) {
  install_stop_flag(0);
  const StopWithin late(100);
  const StopWithin now(0);
  EXPECT_FALSE(now.wanted_here());
  EXPECT_NO_THROW(now.throw_if_wanted(world(), "test"));
  if (world().rank() == world().size() - 1) std::raise(SIGUSR1);
  EXPECT_NO_THROW(late.throw_if_wanted(world(), "test"));
  test::expect_error(ExitCode::stopped, "run the same command", [&] { now.throw_if_wanted(world(), "test"); });
  install_stop_flag(0);
}

TEST(Stop, IsHeededInPartsOfAUnitAsInTheUnit) {
  install_stop_flag(0);
  std::raise(SIGUSR1);
  EXPECT_FALSE(StopWithin(100).wanted_here());
  {
    const StopWithin short_unit(0);
    const UnitOfWork of_it(short_unit);
    EXPECT_TRUE(StopWithin(100).wanted_here()) << "a part that begins late in a unit";
    const StopWithin long_unit(100);
    const UnitOfWork inside(long_unit);
    EXPECT_TRUE(StopWithin(100).wanted_here()) << "units lie in each other";
  }
  EXPECT_FALSE(StopWithin(100).wanted_here()) << "the unit is over";
  install_stop_flag(0);
}

/// Looks as a group by itself does, until a stop is asked for or half a minute has passed.
bool stops_by_itself(const Communicator& group) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  bool late = false;
  while (!stop_requested(group) && !late) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    late = max_of(group, Index{std::chrono::steady_clock::now() > end}) > 0;
  }
  return !late;
}

/// Whichever rank is asked, each group of one rank hears of it between its own steps: rank 0, which hands it on, too, and where others are
/// asked as well.
TEST(StopAcross, GroupsHearOfOneRanksStopWhileTheyWork) {
  const auto group = world().split(world().rank());
  std::vector<std::vector<int>> all_asked{{world().size() - 1}, {0}, {0, world().size() - 1}};
  all_asked.emplace_back(static_cast<std::size_t>(world().size()));
  std::iota(all_asked.back().begin(), all_asked.back().end(), 0);
  for (const auto& asked : all_asked) {
    install_stop_flag(0);
    StopAcross stop(world());
    if (std::find(asked.begin(), asked.end(), world().rank()) != asked.end()) std::raise(SIGUSR1);
    EXPECT_TRUE(stops_by_itself(group));
    stop.meet();
    EXPECT_TRUE(stop_wanted_here());
    stop.meet(); // nothing is left under way
  }
  install_stop_flag(0);
}

/// A rank that has done its work waits for the others, and is asked to stop then.
TEST(StopAcross, ARankThatWaitsHandsItOn) {
  if (world().size() == 1) return;
  const auto group = world().split(world().rank());
  for (const int asked : {0, world().size() - 1}) {
    install_stop_flag(0);
    StopAcross stop(world());
    std::thread later;
    if (world().rank() == asked)
      later = std::thread([] {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        ::kill(::getpid(), SIGUSR1);
      });
    else
      EXPECT_TRUE(stops_by_itself(group));
    stop.meet();
    EXPECT_TRUE(stop_wanted_here());
    if (later.joinable()) later.join();
  }
  install_stop_flag(0);
}

TEST(StopAcross, WithoutAStopGroupsGoOn) {
  install_stop_flag(0);
  StopAcross stop(world());
  for (int round = 0; round < 3; ++round) {
    EXPECT_FALSE(stop_wanted_here());
    stop.meet();
  }
  EXPECT_FALSE(stop_requested(world()));
  if (world().rank() == world().size() - 1) std::raise(SIGUSR1);
  stop.meet();
  EXPECT_TRUE(stop_wanted_here()); // without a look by any other rank before
  install_stop_flag(0);
  EXPECT_FALSE(stop_wanted_here());
}

TEST(AgreeBetweenGroups, OneGroupsStopIsOneOfAll) {
  const int groups = std::min(2, world().size());
  const int number = world().rank() * groups / world().size();
  const auto group = world().split(number);
  install_stop_flag(0);
  if (world().rank() == world().size() - 1) std::raise(SIGUSR1);
  bool heard = false;
  test::expect_error(ExitCode::stopped, "work stopped", [&] {
    agree_between_groups(world(), [&] {
      heard = stops_by_itself(group);
      throw_stopped("work");
    });
  });
  EXPECT_TRUE(heard);
  install_stop_flag(0);
}

/// Rows of uneven and empty shares reach every copy of an array that `make` gives.
void expect_shared(const std::function<std::unique_ptr<NodeArray>(Index)>& make) {
  const auto& comm = test::world();
  std::vector<Index> counts;
  Index rows = 0;
  Index first = 0;
  for (int rank = 0; rank < comm.size(); ++rank) {
    if (rank == comm.rank()) first = rows;
    counts.push_back(rank % 3 == 1 ? 0 : 5 + rank);
    rows += counts.back();
  }
  constexpr Index width = 7, before = 3;
  const auto array = make(before + rows * width);
  for (int round = 0; round < 3; ++round) {
    const auto value = [&](Index i) { return static_cast<float>(1000 * round + i); };
    for (Index i = first * width; i < (first + counts[static_cast<std::size_t>(comm.rank())]) * width; ++i)
      array->values()[static_cast<std::size_t>(before + i)] = value(i);
    array->share(before, counts, width);
    for (Index i = 0; i < rows * width; ++i) EXPECT_EQ(array->values()[static_cast<std::size_t>(before + i)], value(i)) << i;
    for (Index i = 0; i < before; ++i) EXPECT_EQ(array->values()[static_cast<std::size_t>(i)], 0.0F);
    comm.barrier(); // all have looked before anyone writes again
  }
}

/// On one node, and on several: ranks by themselves, two by two, placed in turn (cyclic), and at random. Ranks share what is of one such
/// node and of one host.
TEST(NodeArray, AllCopiesHoldWhatEachRankWrote) {
  const auto& comm = test::world();
  const auto hosts = first_on_host();
  for (const std::vector<int>& placement : {std::vector<int>{}, {0, 1, 2, 3}, {0, 0, 1, 1}, {0, 1, 0, 1}, {0, 1, 1, 0}, {1, 0, 0, 0}}) {
    const std::vector<int> nodes(placement.begin(), placement.empty() ? placement.end() : placement.begin() + comm.size());
    expect_shared([&](Index count) {
      auto array = std::make_unique<NodeArray>(comm, count, nodes);
      std::vector<std::pair<int, int>> places;
      for (std::size_t rank = 0; rank < hosts.size(); ++rank) places.emplace_back(hosts[rank], nodes.empty() ? 0 : nodes[rank]);
      EXPECT_EQ(array->ranks_a_copy(), std::count(places.begin(), places.end(), places[static_cast<std::size_t>(comm.rank())]));
      EXPECT_EQ(array->copy().size(), array->ranks_a_copy());
      for (std::size_t rank = 0; rank < places.size(); ++rank)
        EXPECT_EQ(array->copies()[rank], std::find(places.begin(), places.end(), places[rank]) - places.begin());
      return array;
    });
  }
  expect_shared([&](Index count) { return std::make_unique<NodeArray>(comm, count, std::vector<int>{}, NodeArray::Taking::as_written); });
  const SmallMessages small;
  const std::vector<int> cyclic{0, 1, 0, 1};
  expect_shared([&](Index count) {
    return std::make_unique<NodeArray>(comm, count, std::vector<int>(cyclic.begin(), cyclic.begin() + comm.size()));
  });
}

/// A process number and a file number can mean another file by now, or in another container: device and inode must be those of the maker.
TEST(SharedMemory, IsNoOtherFileThatHasItsNumbers) {
  Mapped made;
  Mapped::Ticket ticket{};
  ASSERT_TRUE(made.make(64, NodeArray::Taking::at_once, ticket));
  made.values()[3] = 7;
  Mapped seen;
  ASSERT_TRUE(seen.open(64, ticket));
  EXPECT_EQ(seen.values()[3], 7);
  for (const std::size_t part : {2U, 3U}) {
    auto wrong = ticket;
    ++wrong[part];
    EXPECT_FALSE(Mapped().open(64, wrong)) << part;
  }
}

TEST(NodeArray, RanksHaveTheirOwnWhereMemoryCannotBeShared) {
  expect_shared([&](Index count) {
    rlimit before{};
    getrlimit(RLIMIT_FSIZE, &before);
    const rlimit none{0, before.rlim_max};
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &none); // no file takes a byte, that of shared memory neither
    auto array = std::make_unique<NodeArray>(test::world(), count);
    setrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, handler);
    EXPECT_EQ(array->ranks_a_copy(), 1);
    return array;
  });
}

/// Bytes of address space that this process has.
rlim_t address_space() {
  rlim_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE));
}

/// On all ranks, also on those that were only to map what the node's first rank makes; smaller arrays are given still.
TEST(NodeArray, SaysOnAllRanksThatThereIsNoMemory) {
  rlimit before{};
  getrlimit(RLIMIT_AS, &before);
  const rlimit little{address_space() + (rlim_t{64} << 20), before.rlim_max};
  setrlimit(RLIMIT_AS, &little);
  const auto make = [] { const NodeArray array(test::world(), Index{1} << 30, {}, NodeArray::Taking::as_written); };
  test::expect_error(ExitCode::unavailable, test::world().size() > 1 ? "take more nodes" : "on each rank", make);
  test::expect_error(ExitCode::unavailable, "there is no memory for an array of 4294967296 bytes", make);
  setrlimit(RLIMIT_AS, &before);
  expect_shared([](Index count) { return std::make_unique<NodeArray>(test::world(), count); });
}

TEST(Gpu, OnesThatAStageLeavesIdleAreNamedOnce) {
  for (const char* name : {"SLURM_JOB_GPUS", "SLURM_GPUS_ON_NODE", "CUDA_VISIBLE_DEVICES"}) ::unsetenv(name);
  const auto said = [](const std::string& stage) {
    testing::internal::CaptureStderr();
    warn_of_idle_gpus(stage, "sae.device = \"cuda\"");
    return testing::internal::GetCapturedStderr();
  };
  set_log_level("warn");
  EXPECT_EQ(said("none"), "");
  ::setenv("CUDA_VISIBLE_DEVICES", "", 1);
  EXPECT_EQ(said("hidden"), "");
  ::setenv("SLURM_JOB_GPUS", "2,3", 1);
  const auto line = said("some");
  EXPECT_EQ(line.find("SLURM_JOB_GPUS=2,3") != std::string::npos, is_speaker()) << line;
  EXPECT_EQ(said("some"), "");
  set_log_level("error");
  ::unsetenv("SLURM_JOB_GPUS");
  ::unsetenv("CUDA_VISIBLE_DEVICES");
}

/// Without a GPU; on one the same memory is pinned.
TEST(Gpu, StagingMemoryIsAligned) {
  for (const std::size_t count : {1U, 1000U, 100000U}) {
    StagingVector<float> values(count, 1.5F);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(values.data()) % 64, 0U);
    values.resize(3 * count, 2.5F);
    EXPECT_EQ(values.front() + values.back(), 4.0F);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(values.data()) % 64, 0U);
  }
}

} // namespace
} // namespace concord::comm
