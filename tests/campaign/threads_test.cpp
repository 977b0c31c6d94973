// Threads of concord's own, for ThreadSanitizer (tests/campaign/sanitize thread): no MPI, no libtorch, whose threads it does not know.
#include "concord/core/error.hpp"
#include "concord/core/machine/threads.hpp"
#include "concord/core/text.hpp"
#include "concord/io/hdf5.hpp"
#include "concord/io/rows/row_writer.hpp"
#include "concord/io/rows/segments.hpp"

#include <gtest/gtest.h>

#include "sae/rows/file_feed.hpp"
#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <numeric>

namespace concord {
namespace {

namespace fs = std::filesystem;

fs::path empty_folder(const std::string& name) {
  const fs::path folder = fs::path("scratch") / ("threads_" + name);
  fs::remove_all(folder);
  fs::create_directories(folder);
  return folder;
}

io::RowBuffer filled(io::BufferPool& pool, std::size_t size, char value) {
  io::RowBuffer buffer = pool.take(size);
  std::memset(buffer.bytes.get(), value, size);
  return buffer;
}

TEST(Threads, ItemsAreTakenOnceAndAnErrorEndsAll) {
  std::vector<std::atomic<int>> taken(500);
  std::vector<Index> of_thread(4, 0); // each thread's own
  for_each_item(500, 4, [&](int thread, Index item) {
    ++of_thread[static_cast<std::size_t>(thread)];
    ++taken[static_cast<std::size_t>(item)];
  });
  for (const auto& times : taken) EXPECT_EQ(times, 1);
  EXPECT_EQ(std::accumulate(of_thread.begin(), of_thread.end(), Index{0}), 500);
  EXPECT_THROW(for_each_item(500, 4, [](int, Index item) { require(item != 300, ExitCode::io, "item {}", item); }), Error);
}

TEST(Threads, WhatIsReadAheadIsSeenBehindTheWait) {
  std::vector<int> rows;
  for (int step = 0; step < 100; ++step) {
    auto done = read_ahead([&rows, step] { rows.assign(100, step); });
    done.get();
    EXPECT_EQ(rows.back(), step);
  }
}

TEST(Threads, RowWriterWritesBesideItsOwner) {
  const auto path = empty_folder("writer") / "rows";
  constexpr std::size_t blocks = 64;
  constexpr std::size_t block_bytes = 3000;
  constexpr std::size_t marks = blocks * block_bytes;
  std::ofstream(path, std::ios::binary) << std::string(marks + 8 * blocks, '\0');
  io::BufferPool pool;
  for (const double commit_seconds : {0.0, 1e9}) {
    io::RowWriter writer(path, pool, commit_seconds, 2 * block_bytes); // the queue is shorter than the work
    for (std::size_t b = 0; b < blocks; ++b) {
      writer.write(b * block_bytes, filled(pool, block_bytes, static_cast<char>('a' + b % 26)), marks + 8 * b);
      if (b % 16 == 15) writer.commit();
    }
    writer.write(0, filled(pool, block_bytes, 'a'), marks); // dropped or written: it ends while there is work
  }
  const std::string written = read_text(path, "rows");
  for (std::size_t b = 0; b < blocks; ++b) {
    const std::string block = written.substr(b * block_bytes, block_bytes);
    EXPECT_EQ(block, std::string(block_bytes, static_cast<char>('a' + b % 26)));
    std::uint64_t mark = 0;
    std::memcpy(&mark, written.data() + marks + 8 * b, sizeof mark);
    EXPECT_EQ(mark, io::block_checksum(block.data(), block.size()));
  }
}

TEST(Threads, AFailureOfTheWriterReachesItsOwner) {
  io::BufferPool pool;
  io::RowWriter full("/dev/full", pool, 0, 1 << 20);
  full.write(0, filled(pool, 100, 'x'), 200);
  EXPECT_THROW(full.commit(), Error);
  EXPECT_THROW(full.write(0, filled(pool, 100, 'x'), 200), Error);
}

TEST(Threads, SegmentsArePackedBySeveral) {
  const auto folder = empty_folder("segments");
  io::BufferPool pool;
  constexpr Index width = 50;
  constexpr Index rows = 300;
  {
    io::SegmentWriter writer({folder, "0", Dtype::bf16, width, 1, 0.0, 1 << 16, 3}, pool);
    for (Index block = 0; block < 30; ++block) writer.write("/layer", block, filled(pool, 2 * width * rows, static_cast<char>(block)));
    writer.commit();
    writer.write("/layer", 30, filled(pool, 2 * width * rows, 'x')); // ends with work under way
  }
  const auto places = io::read_segments(folder);
  ASSERT_TRUE(places.contains("/layer"));
  for (Index block = 0; block < 30; ++block) {
    const auto& place = places.at("/layer").at(block);
    std::vector<char> bytes(2 * width * rows);
    io::File::open(folder / place.file).dataset("/layer/x").read_rows(place.begin, rows, bytes.data());
    EXPECT_EQ(std::count(bytes.begin(), bytes.end(), static_cast<char>(block)), static_cast<std::ptrdiff_t>(bytes.size()));
  }
}

/// Rows [rows, cols] of which element (r, c) is r * cols + c.
std::string rows_file(const fs::path& path, Index rows, Index cols) {
  std::string header = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}\n", rows, cols);
  std::ofstream out(path, std::ios::binary);
  const auto length = static_cast<std::uint16_t>(header.size());
  out << "\x93NUMPY\x01" << '\0';
  out.write(reinterpret_cast<const char*>(&length), 2);
  out << header;
  for (Index i = 0; i < rows * cols; ++i) {
    const auto value = static_cast<float>(i);
    out.write(reinterpret_cast<const char*>(&value), sizeof value);
  }
  return path.string();
}

void expect_same_with_and_without_reading_ahead(sae::RowFeed& feed, const std::function<std::unique_ptr<sae::RowFeed>()>& again) {
  sae::Batch batch;
  for (const Index step : {0, 1, 2, 7, 8, 3}) { // in order, and not
    feed.batch(step, batch);
    sae::Batch alone;
    again()->batch(step, alone);
    EXPECT_EQ(batch.positions, alone.positions);
    EXPECT_TRUE(batch.rows == alone.rows) << "step " << step;
    if (step == 1) feed.sample(alone); // while the reader is at work
    if (step == 2) feed.held_out([](std::span<const float> rows) { EXPECT_GT(rows.size(), 0U); });
  }
}

TEST(Threads, FeedsReadTheNextBatchWhileThisOneIsWorkedOn) {
  const auto folder = empty_folder("feed");
  const auto a = rows_file(folder / "a.npy", 600, 8);
  const auto b = rows_file(folder / "b.npy", 600, 5);
  sae::FeedSettings settings;
  settings.batch = 64;
  sae::FileFeed file(a, settings);
  expect_same_with_and_without_reading_ahead(file, [&] { return std::make_unique<sae::FileFeed>(a, settings); });
  sae::PairFeed pair(a, b, settings);
  expect_same_with_and_without_reading_ahead(pair, [&] { return std::make_unique<sae::PairFeed>(a, b, settings); });
}

} // namespace
} // namespace concord
