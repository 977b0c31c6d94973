#include "concord/core/text.hpp"
#include "concord/io/rows/segments.hpp"

#include "support/support.hpp"
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sys/resource.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <vector>

namespace concord::io {
namespace {

using test::empty_folder;
using test::expect_error;
using test::world;

constexpr Index width = 100;

Index rows_of(Index block) {
  return 1 + (block * 733) % 2900; // under one chunk to several
}

std::uint16_t value(Index block, Index element) {
  return static_cast<std::uint16_t>(block * 1000 + element % 251);
}

RowBuffer block_of(BufferPool& pool, Index block) {
  RowBuffer buffer = pool.take(static_cast<std::size_t>(2 * width * rows_of(block)));
  auto* values = reinterpret_cast<std::uint16_t*>(buffer.bytes.get());
  for (Index i = 0; i < width * rows_of(block); ++i) values[i] = value(block, i);
  return buffer;
}

SegmentSettings settings(const std::filesystem::path& folder, double commit_seconds) {
  return {folder, "0000-" + std::to_string(world().rank()), Dtype::bf16, width, 1, commit_seconds, 1 << 20, 2};
}

TEST(Segments, BlocksOfAllRanksAppearInOneDataset) {
  const auto folder = empty_folder("segments");
  constexpr Index blocks = 9;
  BufferPool pool;
  {
    SegmentWriter writer(settings(folder / "x.segments", world().rank() == 0 ? 0.0 : 1e9), pool);
    for (Index b = world().rank(); b < blocks; b += world().size()) writer.write("/layer", b, block_of(pool, b));
    writer.commit();
    writer.commit(); // nothing new
  }
  world().barrier();
  std::vector<Index> offsets{0};
  for (Index b = 0; b < blocks; ++b) offsets.push_back(offsets.back() + rows_of(b));
  if (world().rank() == 0) {
    std::vector<VirtualPiece> pieces;
    const auto places = read_segments(folder / "x.segments");
    for (const auto& [b, place] : places.at("/layer"))
      pieces.push_back({offsets[static_cast<std::size_t>(b)], rows_of(b), "x.segments/" + place.file, "/layer/x", place.begin, place.rows});
    ASSERT_EQ(pieces.size(), static_cast<std::size_t>(blocks));
    auto file = File::create(folder / "x.h5");
    file.create_virtual_dataset("/layer/x", {offsets.back(), width}, Dtype::bf16, pieces);
    file.close();
  }
  world().barrier();
  const auto rows = File::open(folder / "x.h5").dataset("/layer/x");
  for (Index b = 0; b < blocks; ++b) {
    std::vector<std::uint16_t> values(static_cast<std::size_t>(width * rows_of(b)));
    rows.read_rows(offsets[static_cast<std::size_t>(b)], rows_of(b), values.data());
    for (Index i = 0; i < width * rows_of(b); ++i) ASSERT_EQ(values[static_cast<std::size_t>(i)], value(b, i)) << "block " << b;
  }
}

TEST(Segments, WhatWasNotCommittedIsNotThere) {
  const auto folder = empty_folder("segments_dropped") / std::to_string(world().rank());
  BufferPool pool;
  {
    SegmentWriter writer(settings(folder, 1e9), pool);
    writer.write("/layer", 0, block_of(pool, 0));
    writer.commit();
    writer.write("/layer", 1, block_of(pool, 1));
    writer.write("/layer", 2, block_of(pool, 2));
  }
  const auto places = read_segments(folder);
  EXPECT_EQ(places.at("/layer").size(), 1U);
  EXPECT_TRUE(places.at("/layer").contains(0));
}

/// Ends the process with the exit code of making a writer of 64 threads while it may take 20 MiB more of address space, of which each stack
/// takes 8; `none`: other threads have taken it all.
[[noreturn]] void writer_without_room(bool none, const std::filesystem::path& folder) {
  std::ifstream statm("/proc/self/statm");
  rlim_t pages = 0;
  statm >> pages;
  rlimit limit{};
  getrlimit(RLIMIT_AS, &limit);
  limit.rlim_cur = pages * 4096 + (20 << 20);
  setrlimit(RLIMIT_AS, &limit);
  std::vector<std::thread> others;
  try {
    while (none) others.emplace_back([] { ::pause(); });
  } catch (const std::system_error&) {
  }
  try {
    BufferPool pool;
    auto wanted = settings(folder, 1e9);
    wanted.threads = 64;
    const SegmentWriter writer(wanted, pool);
    std::_Exit(0);
  } catch (const Error& error) {
    std::_Exit(static_cast<int>(error.code()));
  }
}

TEST(Segments, ThreadsThatCannotBeHadAreDoneWithoutOrNamed) {
  if (world().size() > 1) GTEST_SKIP() << "one process of its own is enough";
  const auto folder = std::filesystem::absolute("segments_few_threads");
  EXPECT_EXIT(writer_without_room(true, folder), testing::ExitedWithCode(static_cast<int>(ExitCode::unavailable)), "");
  EXPECT_EXIT(writer_without_room(false, folder), testing::ExitedWithCode(0), "");
}

TEST(Segments, AMissingSegmentIsAnErrorAndNoZeros) {
  const auto folder = empty_folder("segments_missing") / std::to_string(world().rank());
  make_folder(folder);
  auto file = File::create(folder / "x.h5");
  file.create_virtual_dataset("/x", {5, width}, Dtype::bf16, {{0, 5, "gone.segments/a.h5", "/layer/x", 0, 5}});
  expect_error(ExitCode::input_missing, "gone.segments", [&] { file.dataset("/x"); });
}

} // namespace
} // namespace concord::io
