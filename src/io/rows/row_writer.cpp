#include "concord/io/rows/row_writer.hpp"

#include "concord/core/error.hpp"
#include "concord/core/run/spent.hpp"

#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <new>
#include <system_error>
#include <unistd.h>

namespace concord::io {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

constexpr std::size_t page = 4096;
constexpr std::size_t piece_bytes = std::size_t{8} << 20;       // whole stripes of any usual size
constexpr std::size_t smallest_started = std::size_t{64} << 10; // writes that the disk starts on at once

} // namespace

RowBuffer BufferPool::take(std::size_t size) {
  const std::lock_guard lock(mutex_);
  auto best = free_.end();
  for (auto it = free_.begin(); it != free_.end(); ++it)
    if (it->capacity >= size && (best == free_.end() || it->capacity < best->capacity)) best = it;
  if (best == free_.end()) {
    if (!free_.empty()) free_.pop_back(); // too small for today's blocks
    const std::size_t capacity = (size + page - 1) / page * page;
    auto* bytes = static_cast<char*>(std::aligned_alloc(page, std::max(page, capacity)));
    if (bytes == nullptr) throw std::bad_alloc();
    return {std::unique_ptr<char, RowBuffer::Free>(bytes), size, capacity};
  }
  RowBuffer buffer = std::move(*best);
  free_.erase(best);
  buffer.size = size;
  return buffer;
}

void BufferPool::give_back(RowBuffer buffer) {
  const std::lock_guard lock(mutex_);
  free_.push_back(std::move(buffer));
}

std::uint64_t block_checksum(const void* bytes, std::size_t size) {
  const std::uint64_t hash = XXH3_64bits(bytes, size);
  return hash == 0 ? 1 : hash;
}

RowWriter::RowWriter(const std::filesystem::path& path, BufferPool& pool, double commit_seconds, std::size_t queue_bytes)
    : path_(path), pool_(pool), commit_seconds_(commit_seconds), queue_limit_(queue_bytes), file_(::open(path.c_str(), O_WRONLY)) {
  require(file_ >= 0, ExitCode::io, "cannot open {} for writing: {}", path.string(), std::strerror(errno));
  direct_ = ::open(path.c_str(), O_WRONLY | O_DIRECT);
  try {
    thread_ = std::thread([this] { work(); });
  } catch (const std::system_error& error) {
    ::close(file_);
    if (direct_ >= 0) ::close(direct_);
    fail(ExitCode::unavailable, "cannot start the thread that writes {}: {}; raise the limit of processes (ulimit -u)", path.string(),
         error.what());
  }
}

RowWriter::~RowWriter() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
  ::close(file_);
  if (direct_ >= 0) ::close(direct_);
}

void RowWriter::throw_failure() {
  if (failure_ == nullptr) return;
  try {
    std::rethrow_exception(failure_);
  } catch (const Error&) {
    throw;
  } catch (...) {
    const Failure failure = current_failure();
    fail(failure.code, "cannot write {}: {}", path_.string(), failure.message);
  }
}

void RowWriter::write(std::uint64_t offset, RowBuffer block, std::uint64_t mark_offset) {
  const Spend spend(Spending::files, "wait for the row writer");
  note_file_bytes(static_cast<Index>(block.size));
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return failure_ != nullptr || queue_.empty() || queued_bytes_ + block.size <= queue_limit_; });
  throw_failure();
  queued_bytes_ += block.size;
  queue_.push_back({offset, std::move(block), mark_offset});
  lock.unlock();
  changed_.notify_all();
}

void RowWriter::commit() {
  const Spend spend(Spending::files, "commit rows");
  std::unique_lock lock(mutex_);
  commit_wanted_ = true;
  changed_.notify_all();
  changed_.wait(lock, [&] { return failure_ != nullptr || !commit_wanted_; });
  throw_failure();
}

void RowWriter::work() {
  auto committed = Clock::now();
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait_for(lock, std::chrono::milliseconds(200), [&] { return ending_ || commit_wanted_ || !queue_.empty(); });
    if (ending_ || failure_ != nullptr) return;
    try {
      if (!queue_.empty()) {
        const Block& block = queue_.front(); // stays where it is while others are added behind it
        lock.unlock();
        put(block);
        lock.lock();
        queued_bytes_ -= block.bytes.size;
        pool_.give_back(std::move(queue_.front().bytes));
        queue_.pop_front();
      }
      const bool all = commit_wanted_ && queue_.empty();
      if (all || (!marks_.empty() && seconds_since(committed) >= commit_seconds_)) {
        lock.unlock();
        put_marks();
        if (all && ::fdatasync(file_) != 0) fail(ExitCode::io, "cannot flush {}: {}", path_.string(), std::strerror(errno));
        lock.lock();
        committed = Clock::now();
        if (all && queue_.empty()) commit_wanted_ = false;
      }
    } catch (...) { // an exception that left the thread would end the process without a word
      if (!lock.owns_lock()) lock.lock();
      failure_ = std::current_exception(); // put into words by who asks: there may be no memory for them here
    }
    changed_.notify_all();
  }
}

void RowWriter::put(const Block& block) {
  write_all(block.bytes.bytes.get(), block.bytes.size, block.offset);
  marks_.push_back({block.mark_offset, block_checksum(block.bytes.bytes.get(), block.bytes.size)});
}

/// The marks of blocks are written only when the blocks themselves are safe on the disk.
void RowWriter::put_marks() {
  if (marks_.empty()) return;
  require(::fdatasync(file_) == 0, ExitCode::io, "cannot flush {}: {}", path_.string(), std::strerror(errno));
  for (const Mark& mark : marks_) write_all(&mark.checksum, sizeof mark.checksum, mark.offset);
  marks_.clear();
}

void RowWriter::write_all(const void* bytes, std::size_t size, std::uint64_t offset) {
  const char* from = static_cast<const char*>(bytes);
  while (size > 0) {
    // The first piece ends at a multiple of the piece size, so that all later ones are whole.
    std::size_t now = std::min<std::size_t>(size, piece_bytes - offset % piece_bytes);
    // Whole pages go straight to the disk, which spares copying them into the page cache.
    const bool straight = direct_ >= 0 && now >= page && offset % page == 0 && reinterpret_cast<std::uintptr_t>(from) % page == 0;
    if (straight) now = now / page * page;
    const ssize_t written = ::pwrite(straight ? direct_ : file_, from, now, static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (straight && written < 0 && errno == EINVAL) { // opened, but not for this file system's blocks
      ::close(direct_);
      direct_ = -1;
      continue;
    }
    require(written > 0, ExitCode::io, "cannot write {}: {}", path_.string(), written < 0 ? std::strerror(errno) : "nothing was written");
    if (!straight && now >= smallest_started) // start now, wait later
      ::sync_file_range(file_, static_cast<off64_t>(offset), written, SYNC_FILE_RANGE_WRITE);
    from += written;
    size -= static_cast<std::size_t>(written);
    offset += static_cast<std::uint64_t>(written);
  }
}

} // namespace concord::io
