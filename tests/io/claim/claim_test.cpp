#include "concord/comm/stop.hpp"
#include "concord/core/text.hpp"
#include "concord/io/claim/claim.hpp"

#include "io/claim/claim_owner.hpp"
#include "support/support.hpp"
#include <chrono>
#include <sys/wait.h>
#include <unistd.h>

namespace concord::io {
namespace {

using test::empty_folder;
using test::expect_error;
using test::world;

std::filesystem::path claim_of(const std::filesystem::path& output) {
  return output.parent_path() / ("." + output.filename().string() + ".claim");
}

/// A claim that another run left, changed by `change` on rank 0.
template <typename F>
void leave(const std::filesystem::path& file, F&& change) {
  ClaimOwner owner = this_run(world());
  if (world().rank() == 0) {
    change(owner);
    write_text_atomic(file, owner.json().dump());
  }
  world().barrier();
}

void grow_old_here(const std::filesystem::path& path) {
  std::filesystem::last_write_time(path, std::filesystem::file_time_type::clock::now() - std::chrono::hours(1));
}

/// A claim that was not renewed for long: whoever steals it need not wait for its owner to notice.
void grow_old(const std::filesystem::path& claim) {
  if (world().rank() == 0) grow_old_here(claim);
  world().barrier();
}

/// Of a process that has ended.
Index dead_pid() {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
  return child;
}

void die(ClaimOwner& owner) {
  owner.processes = {{dead_pid(), 1}};
}

void expect_only_result(const std::filesystem::path& folder) {
  world().barrier();
  if (world().rank() == 0) {
    EXPECT_TRUE(std::filesystem::is_empty(folder)) << "something is left";
  }
  world().barrier();
}

TEST(Claim, IsHeldByOneAndGivenBack) {
  const auto folder = empty_folder("claim_one");
  {
    const Claim first(world(), folder / "out.h5");
    expect_error(ExitCode::stopped, "is held by pid ", [&] { Claim(world(), folder / "out.h5"); });
    const Claim other(world(), folder / "other.h5");
    world().barrier();
  }
  { const Claim again(world(), folder / "out.h5"); }
  expect_only_result(folder);
}

TEST(Claim, ClearsWhatWatchdogsOfADeadJobLeft) {
  const auto folder = empty_folder("claim_meetings");
  if (world().rank() == 0) {
    for (const char* name : {".stall.old", ".stall.new"}) std::filesystem::create_directory(folder / name);
    grow_old_here(folder / ".stall.old");
  }
  world().barrier();
  { const Claim claim(world(), folder / "out.h5"); }
  if (world().rank() == 0) {
    EXPECT_FALSE(std::filesystem::exists(folder / ".stall.old"));
    EXPECT_TRUE(std::filesystem::exists(folder / ".stall.new"));
    std::filesystem::remove(folder / ".stall.new");
  }
  expect_only_result(folder);
}

TEST(Claim, OfADeadProcessIsTakenOver) {
  const auto folder = empty_folder("claim_dead");
  leave(claim_of(folder / "out.h5"), die);
  { const Claim claim(world(), folder / "out.h5"); }
  expect_only_result(folder);
}

TEST(Claim, OfARecycledPidIsTakenOver) {
  const auto folder = empty_folder("claim_recycled");
  leave(claim_of(folder / "out.h5"), [](ClaimOwner& owner) {
    for (auto& process : owner.processes) process.start += 1; // such a pid is alive, but another process
  });
  { const Claim claim(world(), folder / "out.h5"); }
  expect_only_result(folder);
}

TEST(Claim, ADeadSuccessorHasASuccessorToo) {
  const auto folder = empty_folder("claim_chain");
  const auto claim = claim_of(folder / "out.h5");
  leave(claim, [](ClaimOwner& owner) {
    die(owner);
    owner.token = "first";
  });
  leave(claim.string() + ".first", [](ClaimOwner& owner) {
    die(owner);
    owner.token = "second";
  });
  { const Claim mine(world(), folder / "out.h5"); }
  expect_only_result(folder);
}

TEST(Claim, ALivingSuccessorHoldsIt) {
  const auto folder = empty_folder("claim_successor");
  const auto claim = claim_of(folder / "out.h5");
  leave(claim, [](ClaimOwner& owner) {
    die(owner);
    owner.token = "first";
  });
  leave(claim.string() + ".first", [](ClaimOwner&) {});
  expect_error(ExitCode::stopped, "is held by", [&] { Claim(world(), folder / "out.h5"); });
}

TEST(Claim, WhatCannotBeProvedDeadIsStolenOnly) {
  const auto folder = empty_folder("claim_far");
  const auto far_away = [](ClaimOwner& owner) {
    die(owner);
    owner.host = "node7";
    owner.boot = "another";
    owner.job.clear();
  };
  leave(claim_of(folder / "out.h5"), far_away);
  expect_error(ExitCode::stopped, "on node7", [&] { Claim(world(), folder / "out.h5"); });
  claim_policy().steal = true;
  grow_old(claim_of(folder / "out.h5"));
  { const Claim claim(world(), folder / "out.h5"); }
  if (world().rank() == 0) write_text_atomic(claim_of(folder / "out.h5"), "{torn");
  grow_old(claim_of(folder / "out.h5"));
  { const Claim claim(world(), folder / "out.h5"); }
  claim_policy().steal = false;
  expect_only_result(folder);
}

TEST(Claim, AnEarlierRunOfARequeuedJobIsGone) {
  const auto folder = empty_folder("claim_requeued");
  ::setenv("SLURM_JOB_ID", "77", 1);
  ::setenv("SLURM_RESTART_COUNT", "1", 1);
  const auto earlier = [](ClaimOwner& owner) {
    owner.boot = "another";
    owner.restarts = 0;
  };
  leave(claim_of(folder / "out.h5"), earlier);
  { const Claim claim(world(), folder / "out.h5"); }
  leave(claim_of(folder / "out.h5"), [&](ClaimOwner& owner) {
    earlier(owner);
    owner.restarts = 1;
  });
  expect_error(ExitCode::stopped, "Slurm job 77", [&] { Claim(world(), folder / "out.h5"); });
  ::unsetenv("SLURM_JOB_ID");
  ::unsetenv("SLURM_RESTART_COUNT");
}

TEST(Claim, ThatCannotBeReadIsNamedAndHarmless) {
  const auto folder = empty_folder("claim_unreadable");
  const auto file = claim_of(folder / "out.h5");
  const auto make_unreadable = [&] {
    if (world().rank() == 0) {
      std::filesystem::remove(file);
      std::filesystem::create_symlink("/proc/self/mem", file); // opens; reading it fails with EIO
    }
    world().barrier();
  };
  make_unreadable();
  expect_error(ExitCode::io, "cannot read", [&] { Claim(world(), folder / "out.h5"); });
  {
    const Claim claim(world(), folder / "other.h5");
    if (world().rank() == 0) std::filesystem::rename(file, claim_of(folder / "other.h5"));
    world().barrier();
  } // an exception here would end the process
  if (world().rank() == 0) std::filesystem::remove(claim_of(folder / "other.h5"));
  expect_only_result(folder);
}

TEST(Claim, WaitingLooksForTheStopSignal) {
  const auto folder = empty_folder("claim_wait");
  const Claim first(world(), folder / "out.h5");
  claim_policy().wait = true;
  comm::install_stop_flag(1e-9);
  expect_error(ExitCode::stopped, "waiting stopped early", [&] { Claim(world(), folder / "out.h5"); });
  comm::install_stop_flag(0);
  claim_policy().wait = false;
}

} // namespace
} // namespace concord::io
