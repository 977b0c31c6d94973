#include "concord/core/text.hpp"
#include "concord/io/hdf5.hpp"
#include "concord/io/rows/row_writer.hpp"

#include "support/support.hpp"
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <new>
#include <sys/resource.h>
#include <thread>

namespace {

const auto first_thread = std::this_thread::get_id();
std::atomic<bool> no_memory_elsewhere{false}; ///< in other threads than the first

void* allocate(std::size_t bytes) noexcept {
  const bool none = no_memory_elsewhere && std::this_thread::get_id() != first_thread;
  return none ? nullptr : std::malloc(std::max<std::size_t>(bytes, 1));
}

} // namespace

// In the place of the library's, in this whole program.
void* operator new(std::size_t bytes) {
  void* memory = allocate(bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void* operator new(std::size_t bytes, const std::nothrow_t& /*tag*/) noexcept {
  return allocate(bytes);
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t /*bytes*/) noexcept {
  std::free(memory);
}

namespace concord::io {
namespace {

using test::empty_folder;
using test::expect_error;
using test::world;

RowBuffer filled(BufferPool& pool, std::size_t size, char value) {
  RowBuffer buffer = pool.take(size);
  std::memset(buffer.bytes.get(), value, size);
  return buffer;
}

TEST(RowWriter, RanksPutBlocksIntoOneFileWithMarks) {
  const auto path = empty_folder("row_writer") / "x.h5";
  constexpr Index blocks = 9;
  constexpr Index block_bytes = 3 << 20; // pieces begin inside stripes
  if (world().rank() == 0) {
    auto file = File::create(path, Index{1} << 20);
    file.create_dataset("/x", {blocks, block_bytes}, Dtype::u8);
    file.write("/marks", std::vector<Index>(blocks, 0));
    file.close();
  }
  world().barrier();
  std::uint64_t rows = 0;
  std::uint64_t marks = 0;
  {
    const auto file = File::open(path);
    rows = file.dataset("/x").file_offset();
    marks = file.dataset("/marks").file_offset();
    EXPECT_EQ(rows % (1 << 20), 0U) << "large datasets begin at a stripe";
  }
  world().barrier();
  BufferPool pool;
  {
    RowWriter writer(path, pool, 0.0, 2 * block_bytes); // the queue is shorter than the work
    for (Index b = world().rank(); b < blocks; b += world().size())
      writer.write(rows + static_cast<std::uint64_t>(b * block_bytes), filled(pool, block_bytes, static_cast<char>('a' + b)),
                   marks + 8 * static_cast<std::uint64_t>(b));
    writer.commit();
  }
  world().barrier();
  const auto file = File::open(path);
  const auto recorded = file.read<Index>("/marks");
  for (Index b = 0; b < blocks; ++b) {
    const auto bytes = file.dataset("/x").read<std::uint8_t>(b, 1);
    EXPECT_EQ(std::count(bytes.begin(), bytes.end(), 'a' + b), block_bytes);
    EXPECT_EQ(static_cast<std::uint64_t>(recorded[static_cast<std::size_t>(b)]), block_checksum(bytes.data(), bytes.size()));
  }
}

TEST(RowWriter, WithoutCommitThereIsNoMark) {
  const auto path = empty_folder("row_writer_dropped") / ("rank" + std::to_string(world().rank()));
  { std::ofstream(path) << std::string(64, '\0'); }
  BufferPool pool;
  {
    RowWriter writer(path, pool, /*commit_seconds=*/1e9, 1 << 20);
    writer.write(16, filled(pool, 8, 'x'), 0);
  } // ends without commit()
  EXPECT_EQ(read_text(path, "file").substr(0, 8), std::string(8, '\0'));
}

TEST(RowWriter, SaysWhatKeptItFromWriting) {
  BufferPool pool;
  expect_error(ExitCode::io, "cannot open", [&] { RowWriter("scratch/no/such/file", pool, 0, 1); });
  RowWriter full("/dev/full", pool, 0, 1 << 20);
  full.write(0, filled(pool, 100, 'x'), 200);
  expect_error(ExitCode::io, "No space left", [&] { full.commit(); });
  expect_error(ExitCode::io, "No space left", [&] { full.write(0, filled(pool, 100, 'x'), 200); });
}

/// The thread finds no memory, not for a message either.
TEST(RowWriter, SaysThatItsThreadHasNoMemory) {
  const auto path = empty_folder("row_writer_memory") / ("rank" + std::to_string(world().rank()));
  { std::ofstream(path) << std::string(64, '\0'); }
  BufferPool pool;
  RowWriter writer(path, pool, 0, 1 << 20);
  no_memory_elsewhere = true;
  writer.write(16, filled(pool, 8, 'x'), 0);
  expect_error(ExitCode::unavailable, path.string() + ": out of memory", [&] { writer.commit(); });
  no_memory_elsewhere = false;
  expect_error(ExitCode::unavailable, path.string() + ": out of memory", [&] { writer.commit(); });
  EXPECT_EQ(read_text(path, "file").substr(0, 8), std::string(8, '\0'));
}

TEST(BufferPool, GivesBuffersAgain) {
  BufferPool pool;
  RowBuffer first = pool.take(1000);
  const char* bytes = first.bytes.get();
  pool.give_back(std::move(first));
  RowBuffer again = pool.take(900);
  EXPECT_EQ(again.bytes.get(), bytes);
  EXPECT_EQ(again.size, 900U);
  pool.give_back(std::move(again));
  EXPECT_GE(pool.take(5000).capacity, 5000U);
}

} // namespace
} // namespace concord::io
