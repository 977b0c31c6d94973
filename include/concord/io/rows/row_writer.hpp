#pragma once
/// Writes rows into a laid-out HDF5 file beside the computation: a thread of its own puts bytes at known offsets, so that
/// neither HDF5 nor MPI runs in two threads. Local.

#include "concord/core/index.hpp"

#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <exception>
#include <filesystem>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace concord::io {

/// Uninitialised bytes that are handed on, never copied; aligned to pages.
struct RowBuffer {
  struct Free {
    void operator()(char* memory) const { std::free(memory); }
  };
  std::unique_ptr<char, Free> bytes;
  std::size_t size = 0;
  std::size_t capacity = 0;
};

/// Buffers that are used again, since fresh pages are dear. Thread-safe.
class BufferPool {
public:
  RowBuffer take(std::size_t size);
  void give_back(RowBuffer buffer);

private:
  std::mutex mutex_;
  std::vector<RowBuffer> free_;
};

/// 64-bit XXH3 of a block's bytes; never 0, which marks a block that was not committed.
std::uint64_t block_checksum(const void* bytes, std::size_t size);

class RowWriter {
public:
  /// Opens `path` for writing by offset. Blocks become durable at most `commit_seconds` after they are written; at most
  /// `queue_bytes` wait. @throws Error io.
  RowWriter(const std::filesystem::path& path, BufferPool& pool, double commit_seconds, std::size_t queue_bytes);
  /// Drops what was not committed.
  ~RowWriter();
  RowWriter(const RowWriter&) = delete;
  RowWriter& operator=(const RowWriter&) = delete;
  /// Queues a block for `offset`. Once its bytes are on the disk its checksum is written at `mark_offset`: the block's
  /// commit mark. Waits while the queue is full. @throws Error io, or unavailable (no memory), of this or an earlier block.
  void write(std::uint64_t offset, RowBuffer block, std::uint64_t mark_offset);
  /// Waits until all blocks and their marks are on the disk. @throws Error as write().
  void commit();

private:
  struct Block {
    std::uint64_t offset;
    RowBuffer bytes;
    std::uint64_t mark_offset;
  };
  struct Mark {
    std::uint64_t offset;
    std::uint64_t checksum;
  };
  void work();
  void put(const Block& block);
  void put_marks();
  void write_all(const void* bytes, std::size_t size, std::uint64_t offset);
  void throw_failure();

  std::filesystem::path path_;
  BufferPool& pool_;
  double commit_seconds_;
  std::size_t queue_limit_;
  int file_ = -1;
  int direct_ = -1;         ///< the same file past the page cache; -1 where the file system has no such thing
  std::vector<Mark> marks_; ///< of blocks written but not yet durable; the thread's own
  std::mutex mutex_;        ///< guards what follows
  std::condition_variable changed_;
  std::deque<Block> queue_;
  std::size_t queued_bytes_ = 0;
  bool commit_wanted_ = false;
  bool ending_ = false;
  std::exception_ptr failure_; ///< what ended the thread's work
  std::thread thread_;
};

} // namespace concord::io
