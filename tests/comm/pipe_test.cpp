#include "concord/comm/collectives.hpp"
#include "concord/comm/pipe.hpp"
#include "concord/comm/stop.hpp"

#include "comm/message_size.hpp"
#include "support/support.hpp"
#include <csignal>
#include <numeric>

namespace concord::comm {
namespace {

using test::world;

TEST(Pipe, MessagesArriveInOrderThroughAllRanks) {
  constexpr int messages = 7;
  const int rank = world().rank();
  const bool last = rank + 1 == world().size();
  Pipe pipe(world(), rank - 1, last ? -1 : rank + 1);
  for (int m = 0; m < messages; ++m) {
    const std::size_t size = m == 3 ? 0 : 200000 + static_cast<std::size_t>(m); // beyond what MPI sends at once
    auto values = std::make_shared<std::vector<int>>(size);
    if (rank == 0) {
      std::iota(values->begin(), values->end(), m);
    } else {
      pipe.start_receive(values->data(), static_cast<Index>(size * sizeof(int)));
      pipe.progress();
      pipe.finish_receive();
      for (int& v : *values) ++v;
    }
    if (size > 0) {
      EXPECT_EQ(values->front(), m + rank);
      EXPECT_EQ(values->back(), m + rank + static_cast<int>(size) - 1);
    }
    if (!last) pipe.start_send(values->data(), static_cast<Index>(size * sizeof(int)), values);
  }
  pipe.finish();
}

TEST(Pipe, LargeMessagesTravelInPieces) {
  const Index before = most_a_message;
  most_a_message = 16;
  constexpr Index count = 100;
  const int rank = world().rank();
  const bool last = rank + 1 == world().size();
  Pipe pipe(world(), rank - 1, last ? -1 : rank + 1);
  auto bytes = std::make_shared<std::vector<std::int8_t>>(static_cast<std::size_t>(count));
  if (rank == 0) {
    std::iota(bytes->begin(), bytes->end(), std::int8_t{0});
  } else {
    pipe.start_receive(bytes->data(), count);
    pipe.finish_receive();
  }
  for (Index i = 0; i < count; ++i) EXPECT_EQ((*bytes)[static_cast<std::size_t>(i)], i);
  if (!last) pipe.start_send(bytes->data(), count, bytes);
  pipe.finish();
  world().barrier();
  most_a_message = before;
}

TEST(Pipe, AReceiveThatNobodyAnswersIsGivenUp) {
  Pipe pipe(world(), (world().rank() + 1) % world().size(), -1);
  int nothing = 0;
  pipe.start_receive(&nothing, sizeof nothing);
  pipe.finish(); // must return
}

TEST(StopVote, AllRanksStopBeforeTheSameStep) {
  install_stop_flag(0); // forgets signals of earlier tests
  const int lag = 3;
  StopVote vote(world(), lag);
  int step = 0;
  for (; step < 100; ++step) {
    if (vote.stop_before_step()) break;
    vote.progress();
    if (step == 4 && world().rank() == world().size() - 1) std::raise(SIGUSR1);
  }
  vote.end();
  EXPECT_EQ(step, 5 + lag);
  EXPECT_EQ(max_of(world(), Index{step}), step);
}

} // namespace
} // namespace concord::comm
