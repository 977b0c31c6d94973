// Waits for files that another makes, and their ends by a stop.
#include "concord/comm/agree.hpp"
#include "concord/comm/await_file.hpp"
#include "concord/comm/stop.hpp"

#include "support/support.hpp"
#include <atomic>
#include <csignal>
#include <fstream>
#include <thread>

namespace concord::comm {
namespace {

using test::empty_folder;
using test::expect_error;
using test::world;

class AwaitFile : public ::testing::Test {
protected:
  void SetUp() override {
    install_stop_flag(0);
    folder = empty_folder("await_file");
    mine = folder / ("of_rank_" + std::to_string(world().rank()));
  }
  void TearDown() override {
    install_stop_flag(0);
    world().barrier(); // the next test empties the folder
  }
  static bool is_last() { return world().rank() == world().size() - 1; }
  std::filesystem::path folder, mine;
};

/// Makes a file a while after the wait has begun.
class Maker {
public:
  explicit Maker(const std::filesystem::path& path)
      : thread_([this, path] {
          while (!begun_) std::this_thread::yield();
          std::this_thread::sleep_for(std::chrono::milliseconds(50));
          std::ofstream(path) << "there";
        }) {
    begun_ = true;
  }
  ~Maker() { thread_.join(); }

private:
  std::atomic<bool> begun_ = false;
  std::thread thread_;
};

TEST_F(AwaitFile, WaitsForAFileThatAnotherMakes) {
  {
    const Maker maker(mine);
    await_file_here(mine);
    EXPECT_TRUE(std::filesystem::exists(mine));
  }
  await_file_here(mine); // at once
}

TEST_F(AwaitFile, WaitsUntilEveryRankSeesIt) {
  if (!is_last()) std::ofstream(mine) << "there";
  std::optional<Maker> maker;
  if (is_last()) maker.emplace(mine);
  await_file(world(), mine);
  for (int rank = 0; rank < world().size(); ++rank)
    EXPECT_TRUE(std::filesystem::exists(folder / ("of_rank_" + std::to_string(rank)))) << rank;
}

TEST_F(AwaitFile, AStopOfAnyRankEndsTheWaitOfAll) {
  if (world().rank() > 0) std::ofstream(mine) << "there"; // the first rank's never comes
  if (is_last()) std::raise(SIGUSR1);
  try {
    await_file(world(), mine);
    ADD_FAILURE() << "the wait has no end";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::stopped);
    EXPECT_TRUE(error.agreed());
  }
}

TEST_F(AwaitFile, AStopOfThisRankEndsItsWait) {
  if (is_last()) std::raise(SIGTERM);
  expect_error(ExitCode::stopped, "the wait for", [&] {
    agree(world(), [&] {
      if (is_last()) await_file_here(mine);
    });
  });
  std::ofstream(mine) << "there";
  await_file_here(mine); // what is there is not waited for, stop or not
}

} // namespace
} // namespace concord::comm
